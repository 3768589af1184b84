"""Whatever happened before, answers are those of a plain oracle: same items, same scores to 1e-5."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import RunningServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle

from recwire import Client, Event, Item, SeenPolicy, to_bytes
from recwire_server.config import load_settings
from recwire_server.testing import HashEncoder, running_server

DIM = 32
WORDS = ["lamp", "kettle", "river", "novel", "space", "piano", "garden", "bicycle"]
ITEM_IDS = [f"i{n}" for n in range(6)]  # few, so that histories meet updates and deletions
USER_IDS = ["ada", "bob"]

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
vectors = st.integers(0, 50).map(lambda seed: to_bytes(np.random.default_rng(seed).normal(size=DIM)))
items = st.one_of(
    st.builds(Item, item_id=st.sampled_from(ITEM_IDS), title=texts, texts=st.lists(texts, max_size=2)),
    st.builds(Item, item_id=st.sampled_from(ITEM_IDS), title=texts, vector=vectors),
)
weights = st.sampled_from([None, None, 0.0, 1.0, 0.5, -1.0, 2.5])
events = st.builds(
    lambda subject, type_, weight: Event(**subject, type=type_, **({} if weight is None else {"weight": weight})),
    st.one_of(
        st.sampled_from(ITEM_IDS).map(lambda item_id: {"item_id": item_id}),
        texts.map(lambda text: {"text": text}),
        vectors.map(lambda vector: {"vector": vector}),
    ),
    st.integers(0, 12),
    weights,
)
operations = st.one_of(
    st.tuples(st.just("upsert"), st.lists(items, min_size=1, max_size=5)),
    st.tuples(st.just("update"), st.sampled_from(USER_IDS), st.lists(events, min_size=1, max_size=5)),
    st.tuples(st.just("delete"), st.lists(st.sampled_from(ITEM_IDS), min_size=1, max_size=2)),
)
questions = st.fixed_dictionaries(
    {
        "limit": st.integers(1, 15),
        "exclude_item_ids": st.lists(st.sampled_from(ITEM_IDS), max_size=3),
        "seen": st.sampled_from([SeenPolicy.SEEN_POLICY_EXCLUDE, SeenPolicy.SEEN_POLICY_INCLUDE]),
        "ignored": st.integers(0, 3),
        "exact": st.booleans(),
    }
)


@pytest.fixture(scope="module", params=[1.0, 0.7], ids=["no decay", "decay .7"])
def served(request, tmp_path_factory) -> Iterator[tuple[Client, float]]:
    """A server in the plain space, and its decay."""
    flags = {
        "listen": "127.0.0.1:0",
        "data_dir": tmp_path_factory.mktemp("oracle"),
        "vector_space": "plain",
        "decay_per_event": request.param,
        "max_cached_events": 10,  # users are dropped from memory and read back all the time
    }
    with running_server(load_settings(flags), HashEncoder()) as address, Client(address) as client:
        yield client, request.param


def check_answer(client: Client, oracle: Oracle, user_id: str, log: list[Event], question: dict) -> None:
    """Ask the server and the oracle the same."""
    ignored = [event.event_id for event in log[: question["ignored"]]]
    counted = log[question["ignored"] :]
    answer = client.recommend(
        user_id,
        limit=question["limit"],
        exclude_item_ids=question["exclude_item_ids"],
        seen=question["seen"],
        ignore_event_ids=ignored,
        exact=question["exact"],
        explain=True,
    )
    query = oracle.user_vector(counted)
    if query is None or not np.abs(query).max() > 1e-7:
        return  # a cold start, or events that cancel out to rounding noise: other tests have these
    excluded = set(question["exclude_item_ids"])
    if question["seen"] == SeenPolicy.SEEN_POLICY_EXCLUDE:
        excluded |= {event.item_id for event in counted if event.item_id}
    expected = oracle.recommend(query, excluded, question["limit"])
    scores = [recommendation.score for recommendation in answer.recommendations]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-5)
    by_id = dict(oracle.recommend(query, excluded, 10**6))
    for recommendation in answer.recommendations:  # equal items, but for those whose scores are equal to rounding
        assert recommendation.score == pytest.approx(by_id[recommendation.item_id], abs=1e-5)
        assert sum(c.value for c in recommendation.contributions) == pytest.approx(recommendation.score, abs=1e-5)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(operations, min_size=5, max_size=30), question=questions)
def test_answers_are_those_of_a_plain_replay(served, history, question):
    """After any order of upserts, deletions and events, of any kind and weight, in the plain space."""
    client, decay = served
    oracle, logs = Oracle(decay), defaultdict(list)
    run = f"{np.random.default_rng().integers(2**62):x}"  # every example has items and users of its own

    def renamed(item_id: str) -> str:
        return f"{run}-{item_id}"

    for operation, *arguments in history:
        if operation == "upsert":
            mine = [
                Item(item_id=renamed(i.item_id), title=i.title, texts=i.texts, vector=i.vector) for i in arguments[0]
            ]
            client.upsert_items(mine)
            for item in mine:
                oracle.upsert(item)
        elif operation == "delete":
            mine = [renamed(item_id) for item_id in arguments[0]]
            client.delete_items(mine)
            for item_id in mine:
                oracle.delete(item_id)
        else:
            user_id, new = arguments
            log = logs[user_id]
            for event in new:
                mine = Event()
                mine.CopyFrom(event)
                mine.event_id = str(len(log))
                if event.item_id:
                    mine.item_id = renamed(event.item_id)
                log.append(mine)
            client.update_user(renamed(user_id), log[-len(new) :])
    mine = {**question, "exclude_item_ids": [renamed(item_id) for item_id in question["exclude_item_ids"]]}
    for user_id, log in logs.items():
        check_answer(client, oracle, renamed(user_id), log, mine)
    if oracle.items:
        client.delete_items(list(oracle.items))  # the next example's catalogue is its own


def test_the_centred_space_is_the_oracles_too(start_server):
    """From 1,000 items on the catalogue's mean is subtracted from items, events and queries alike."""
    random = np.random.default_rng(5)
    server: RunningServer = start_server(decay_per_event=0.7)
    catalogue = [
        Item(item_id=f"i{n}", title=" ".join(random.choice(WORDS, 2)), vector=to_bytes(random.normal(1, 1, DIM)))
        for n in range(1_000)
    ]
    for start in range(0, 1_000, 250):
        server.client.upsert_items(catalogue[start : start + 250])
    wait_for_space(server.client, "centred")
    oracle = Oracle(decay=0.7)
    for item in catalogue:
        oracle.upsert(item)
    oracle.mean = np.mean(list(oracle.items.values()), axis=0).astype(np.float32).astype(np.float64)

    late = Item(item_id="late", title="a late lamp")  # after the mean is frozen: mapped by the same mean
    server.client.upsert_items([late])
    oracle.upsert(late)
    for user in range(20):
        log = [
            Event(event_id="t", text="lamp by the river"),
            Event(event_id="v", vector=to_bytes(random.normal(size=DIM))),
        ]
        log += [Event(event_id=str(n), item_id=f"i{random.integers(1000)}", type=n + 1) for n in range(6)]
        server.client.update_user(str(user), log)
        check_answer(
            server.client,
            oracle,
            str(user),
            log,
            {"limit": 20, "exclude_item_ids": [], "seen": SeenPolicy.SEEN_POLICY_EXCLUDE, "ignored": 1, "exact": True},
        )


def wait_for_space(client: Client, space: str) -> None:
    """Wait until a generation in this space serves: it is swapped in soon after the write that made it due."""
    for _ in range(200):
        if client.get_server_info().vector_space == space:
            return
        client.update_user("waiting", [Event(item_id="none")])  # a durable write takes about a millisecond
    raise AssertionError(f"no generation in the {space} space")
