"""Generations of the index are built beside the serving one and swapped in, and nobody notices but by the speed."""

import threading

import numpy as np
import pytest
from waiting import wait_until

from recwire import Client, Event, Item, to_bytes
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

DIM = 32
# From 200 items on: graphs are small, quickly built, and often.
WITH_GRAPH = {
    "exact_search_max_items": 200,
    "search_method": "graph",
    "graph_min_items": 200,
    "max_queue_wait_s": 60,
    "max_standing_wait_s": 60,
}


def vector_items(first: int, count: int, seed: int = 0) -> list[Item]:
    """Return items with vectors of their own around a few centres."""
    random = np.random.default_rng([seed, first])
    centres = np.random.default_rng(1).normal(size=(8, DIM))
    return [
        Item(item_id=f"i{first + n:05}", vector=to_bytes(centres[n % 8] + random.normal(size=DIM)))
        for n in range(count)
    ]


def answers(client: Client, exact: bool) -> list[object]:
    """Return answers to 20 mixtures."""
    random = np.random.default_rng(4)
    return [client.recommend(vector=to_bytes(random.normal(size=DIM)), limit=20, exact=exact) for _ in range(20)]


def test_a_graph_is_built_once_there_are_enough_items(start_server):
    """Searches are exact until it serves; then it has the recall that was asked for."""
    client = start_server(**WITH_GRAPH).client
    client.upsert_items(vector_items(0, 100))
    assert client.get_server_info().ef_search == 0
    client.upsert_items(vector_items(100, 256))
    wait_until(client, lambda: client.get_server_info().ef_search > 0)
    info = client.get_server_info()
    assert info.measured_recall >= info.recall_target
    assert info.index_generation > 1


def test_searches_and_writes_go_on_while_generations_change(start_server):
    """Four readers see no error, no deleted item and no gap while items are added, changed and deleted and graphs
    are swapped in."""
    server = start_server(**WITH_GRAPH)
    server.client.upsert_items(vector_items(0, 256))
    stop, wrong = threading.Event(), []
    deleted: set[str] = set()

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        with Client(server.address) as client:
            while not stop.is_set():
                gone = set(deleted)
                try:
                    exact = bool(random.integers(2))
                    answer = client.recommend(vector=to_bytes(random.normal(size=DIM)), limit=50, exact=exact)
                except Exception as error:
                    wrong.append(error)
                    return
                found = [recommendation.item_id for recommendation in answer.recommendations]
                if len(set(found)) != 50 or gone & set(found):
                    wrong.append((exact, len(set(found)), sorted(gone & set(found))))

    readers = [threading.Thread(target=read, args=[seed]) for seed in range(4)]
    for reader in readers:
        reader.start()
    for first in range(256, 30_000, 196):
        if first > 3_000 and server.client.get_server_info().index_generation >= 3:
            break
        server.client.upsert_items(vector_items(first, 196))
        server.client.upsert_items(vector_items(first - 150, 100, seed=1))
        gone = [f"i{n:05}" for n in range(first - 50, first - 10)]
        server.client.delete_items(gone)
        deleted.update(gone)
    wait_until(server.client, lambda: server.client.get_server_info().ef_search > 0)
    stop.set()
    for reader in readers:
        reader.join()
    info = server.client.get_server_info()
    assert wrong == []
    assert info.item_count == len(list(server.client.list_items()))
    assert info.index_generation >= 3


@pytest.mark.parametrize("damage", [False, True], ids=["whole", "damaged"])
def test_a_restart_brings_the_graph_back(damage, tmp_path):
    """The same graph, with what was written after it: answers do not change. From a damaged snapshot it is built anew,
    and exact answers do not change."""
    flags = {"listen": "127.0.0.1:0", "data_dir": tmp_path, **WITH_GRAPH}
    with running_server(load_settings(flags), HashEncoder()) as address, Client(address) as client:
        for first in range(0, 1_200, 200):
            client.upsert_items(vector_items(first, 200))
        wait_until(client, lambda: _is_settled(client))
        client.upsert_items(vector_items(100, 60, seed=2))
        client.upsert_items(vector_items(5_000, 20))
        client.delete_items([f"i{n:05}" for n in range(0, 90, 2)])
        assert client.get_server_info().ef_search > 0
        before, before_exact = answers(client, exact=False), answers(client, exact=True)
        generation = client.get_server_info().index_generation
    if damage:
        keys = tmp_path / "index" / f"generation-{generation}" / "keys.json"
        keys.write_text(keys.read_text().replace('"i00001"', '"i00002"'))

    with running_server(load_settings(flags), HashEncoder()) as address, Client(address) as client:
        assert answers(client, exact=True) == before_exact
        if damage:
            wait_until(client, lambda: client.get_server_info().ef_search > 0)
            assert answers(client, exact=True) == before_exact
        else:
            assert client.get_server_info().index_generation == generation
            assert answers(client, exact=False) == before


def _is_settled(client: Client) -> bool:
    """Return whether the generation serves that 1,200 items make due: centred, with a graph."""
    info = client.get_server_info()
    return info.vector_space == "centred" and info.ef_search > 0


def test_users_follow_a_new_vector_space(start_server):
    """When the catalogue's mean is estimated anew, users, items and queries are all mapped anew: a user's answer is the
    one that a new user with the same events gets."""
    client = start_server(exact_search_max_items=10**6).client
    events = [Event(event_id="1", item_id="i00003"), Event(event_id="2", text="lamp")]
    client.upsert_items(vector_items(0, 250))
    client.update_user("early", events)
    plain = client.get_user("early").vector
    for first in range(250, 1_200, 250):
        client.upsert_items(vector_items(first, 250, seed=first))
    wait_until(client, lambda: client.get_server_info().vector_space == "centred")
    client.update_user("late", events)
    assert client.get_user("early").vector == client.get_user("late").vector != plain
    early, late = (client.recommend(user, limit=30, explain=True).recommendations for user in ("early", "late"))
    assert list(early) == list(late)


def test_few_items_that_are_replaced_again_and_again_do_not_pile_up(start_server):
    """Rows of what was replaced go with the next generation, also where every search is exact; answers stay."""
    client = start_server(exact_search_max_items=100).client
    client.upsert_items(vector_items(0, 50))
    before = answers(client, exact=False)
    for _ in range(20):
        client.upsert_items(vector_items(0, 50))
    wait_until(client, lambda: client.get_server_info().index.removed_row_count <= 150)
    assert client.get_server_info().index_generation > 1
    assert answers(client, exact=False) == before
