"""What the server tells of its index and its memory."""

import numpy as np
from waiting import wait_until, wait_until_built

from recwire import Event, Item, to_bytes
from recwire_server.testing import HashEncoder

DIM = 32
SMALL = {"exact_search_max_items": 200}  # scans and graphs come early


def clustered(first: int, count: int) -> list[Item]:
    """Items around a few centres."""
    chance = np.random.default_rng([7, first])
    centres = np.random.default_rng(1).normal(size=(8, DIM))
    return [
        Item(item_id=f"i{first + n}", vector=to_bytes(centres[n % 8] + chance.normal(size=DIM))) for n in range(count)
    ]


def test_a_small_catalogue_is_searched_exactly(start_server):
    """It says so, and has nothing to measure."""
    client = start_server().client
    client.upsert_items(clustered(0, 50))
    index = client.get_server_info().index
    assert (index.method, index.reason, list(index.recalls)) == ("exact", "50 items: every one is scored", [])
    assert (index.row_count, index.scored_row_count, index.removed_row_count) == (50, 50, 0)


def test_a_larger_one_is_scanned_and_says_how_well(start_server):
    """Recall by kind of query, users among them; cost; and what is not in the codes yet."""
    client = start_server(**SMALL).client
    for n in range(20):
        client.update_user(f"u{n}", [Event(item_id=f"i{7 * n + m}") for m in range(5)])
    client.upsert_items(clustered(0, 250))
    wait_until(client, lambda: client.get_server_info().index.method == "scan")
    wait_until_built(client)
    info = client.get_server_info()
    recalls = {kind.kind: kind.recall for kind in info.index.recalls}
    assert {"1 item", "20 items, 20 topics", "users"} <= set(recalls)
    assert info.measured_recall == min(recalls.values()) >= info.recall_target
    assert info.index.scan_cpu_duration.ToNanoseconds() > 0
    assert "no graph is built" in info.index.reason
    assert info.ef_search == 0
    before = info.index
    client.upsert_items(clustered(240, 20))
    client.delete_items(["i3"])
    after = client.get_server_info().index
    assert after.row_count - before.row_count == 20
    assert after.removed_row_count - before.removed_row_count == 11
    assert after.scored_row_count - before.scored_row_count == 20


def test_a_graph_is_chosen_by_what_it_costs(start_server):
    """Both were measured, and the reason has both figures; whichever serves is the cheaper one."""
    client = start_server(**SMALL, graph_min_items=200).client
    client.upsert_items(clustered(0, 250))
    wait_until(client, lambda: client.get_server_info().index.graph_cpu_duration.ToNanoseconds() > 0)
    index = client.get_server_info().index
    graph, scan = index.graph_cpu_duration.ToNanoseconds(), index.scan_cpu_duration.ToNanoseconds()
    assert index.method == ("graph" if graph < scan else "scan")
    assert f"graph {graph / 1e6:.3f} ms, scan {scan / 1e6:.3f} ms" in index.reason


def test_searches_that_are_made_are_checked(start_server):
    """Live recall comes with the first of them."""
    client = start_server(**SMALL).client
    client.upsert_items(clustered(0, 250))
    wait_until(client, lambda: client.get_server_info().index.method == "scan")
    assert client.get_server_info().index.live_sample_count == 0
    client.recommend(item_id="i5")
    wait_until(client, lambda: client.get_server_info().index.live_sample_count == 1)
    assert 0 < client.get_server_info().index.live_recall <= 1


def test_a_catalogue_that_shrinks_is_searched_exactly_again(start_server):
    """Once it is half of what a scan begins at."""
    client = start_server(**SMALL).client
    client.upsert_items(clustered(0, 250))
    wait_until(client, lambda: client.get_server_info().index.method == "scan")
    client.delete_items([f"i{n}" for n in range(160)])
    wait_until(client, lambda: client.get_server_info().index.method == "exact")
    assert len(client.recommend(item_id="i200", limit=100).recommendations) == 89


def test_items_of_a_new_kind_are_found_at_once_and_make_a_new_index(start_server):
    """What the first items have in common says nothing of them: scored one by one, until there are many."""
    client = start_server(HashEncoder(dim=128), **SMALL, vector_space="plain").client
    chance = np.random.default_rng(3)
    old, new = np.zeros((2, 600, 128))
    old[:, :16], new[:, 64:80] = chance.normal(size=(2, 600, 16))
    old, new = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (old, new))
    for first in range(0, 600, 200):
        client.upsert_items([Item(item_id=f"old{n}", vector=to_bytes(old[n])) for n in range(first, first + 200)])
    wait_until(client, lambda: client.get_server_info().index.method == "scan")
    wait_until_built(client)
    generation = client.get_server_info().index_generation
    for first in range(0, 600, 100):
        client.upsert_items([Item(item_id=f"new{n}", vector=to_bytes(new[n])) for n in range(first, first + 100)])
        for n in range(first, first + 100, 10):
            assert client.recommend(vector=to_bytes(new[n]), limit=1).recommendations[0].item_id == f"new{n}"
    wait_until(client, lambda: client.get_server_info().index_generation > generation)


def test_memory_is_told(start_server):
    """What users and the index take is part of what the process has, and grows with them."""
    client = start_server(**SMALL).client
    client.upsert_items(clustered(0, 250))
    wait_until(client, lambda: client.get_server_info().index.method == "scan")
    wait_until_built(client)
    before = client.get_server_info().memory
    assert before.index_mapped_bytes >= 250 * DIM * 4
    assert before.bytes_per_item > DIM * 4
    assert before.rebuild_bytes > 0
    client.update_user("ada", [Event(item_id="i1"), Event(text="a lamp")])
    client.recommend("ada")
    after = client.get_server_info().memory
    assert after.cached_user_count == before.cached_user_count + 1
    assert 2_000 < after.user_cache_bytes - before.user_cache_bytes < 10_000
    assert after.user_cache_max_bytes == 1 << 30
    assert after.resident_bytes > after.index_bytes + after.user_cache_bytes
