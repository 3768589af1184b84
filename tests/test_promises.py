"""What every answer keeps, whatever the catalogue, the search and the history."""

import time
from datetime import timedelta

import grpc
import numpy as np
import pytest
from contract_words import ids
from google.protobuf.timestamp_pb2 import Timestamp

from recwire import (
    Event,
    Item,
    SeenPolicy,
    Shortfall,
    Strategy,
    from_bytes,
    to_bytes,
)
from recwire.v1.user_service_pb2 import ForgetEventsRequest
from recwire.v1.user_service_pb2_grpc import UserServiceStub

DIM = 32
PAST, FUTURE = Timestamp(seconds=1_000_000_000), Timestamp(seconds=4_000_000_000)
INCLUDE = SeenPolicy.SEEN_POLICY_INCLUDE
NOT_SHORT = Shortfall.SHORTFALL_UNSPECIFIED
EXHAUSTED = Shortfall.SHORTFALL_CATALOG_EXHAUSTED
TOO_NARROW = Shortfall.SHORTFALL_FILTER_TOO_NARROW


def text_items(*item_ids: str, **fields: object) -> list[Item]:
    return [Item(item_id=item_id, texts=[f"a text on {item_id}"], **fields) for item_id in item_ids]


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"diversity": 0.5}], ids=["search", "exact", "diverse"])
def test_seen_items_never_come_back(hash_server, options):
    """Whatever was done to them, and whether it moved the user; also once they arrive late."""
    client = hash_server.client
    client.upsert_items(text_items("a", "b", "c", "d", "e"))
    client.update_user("ada", [Event(item_id="a"), Event(item_id="b", weight=0), Event(item_id="c", weight=-1)])
    client.update_user("ada", [Event(item_id="late")])
    client.upsert_items(text_items("late"))
    answer = client.recommend("ada", limit=100, **options)
    assert sorted(ids(answer)) == ["d", "e"]
    assert answer.shortfall == EXHAUSTED


@pytest.mark.parametrize("older_events", ["count", "ignore"])
def test_events_that_no_longer_count_one_by_one_are_seen(start_server, older_events):
    """A history bounded to one event still knows what was in it."""
    client = start_server(max_history_events=1, older_events=older_events).client
    client.upsert_items(text_items("a", "b", "c"))
    client.update_user("ada", [Event(item_id="a"), Event(item_id="b")])
    assert ids(client.recommend("ada")) == ["c"]


@pytest.mark.parametrize("user", ["ada", "nobody"])
@pytest.mark.parametrize("options", [{}, {"exact": True}, {"item_ids": ["gone", "past", "future", "ok"]}])
def test_what_is_deleted_expired_or_not_published_never_comes(hash_server, user, options):
    """Not to those who like it, nor to those of whom nothing is known, nor where it is asked for by id."""
    client = hash_server.client
    client.upsert_items([*text_items("gone", "ok", "liked"), *text_items("past", expire_time=PAST)])
    client.upsert_items([*text_items("future", publish_time=FUTURE), *text_items("now", publish_time=PAST)])
    client.update_user("ada", [Event(text="a text on gone past future"), Event(item_id="liked")])
    client.delete_items(["gone"])
    answer = client.recommend(user, limit=100, **options)
    assert set(ids(answer)) <= {"ok", "now", "liked"}
    assert "ok" in ids(answer)


def test_a_published_item_that_expires_later_comes(hash_server):
    """From its publish time to its expire time."""
    hash_server.client.upsert_items(text_items("now", publish_time=PAST, expire_time=FUTURE))
    assert ids(hash_server.client.recommend("nobody")) == ["now"]


HOUR = timedelta(hours=1)


def test_what_was_served_does_not_come_back_within_the_time(hash_server):
    """Not even where nothing else is left; others get it all the same, and so does who asks for no rotation."""
    client = hash_server.client
    client.upsert_items(text_items("a", "b", "c", "d", "e", "liked"))
    client.update_user("ada", [Event(item_id="liked")])
    answers = [client.recommend("ada", limit=3, rotation=HOUR) for _ in range(3)]
    assert [(len(ids(one)), one.shortfall) for one in answers] == [(3, NOT_SHORT), (2, EXHAUSTED), (0, EXHAUSTED)]
    assert set(ids(answers[0])) | set(ids(answers[1])) == {"a", "b", "c", "d", "e"}
    assert len(ids(client.recommend("bob", rotation=HOUR))) == 6
    assert len(ids(client.recommend("ada"))) == 5


def test_what_was_served_comes_back_after_the_time(hash_server):
    """What was served more than a microsecond ago is served again to who asks for a microsecond."""
    client = hash_server.client
    client.upsert_items(text_items("a", "b"))
    first = client.recommend("ada", rotation=HOUR)
    assert ids(client.recommend("ada", rotation=timedelta(microseconds=1))) == ids(first) == ["a", "b"]


def test_a_question_is_not_served_and_an_erased_user_was_served_nothing(hash_server):
    """Answers with ignore_event_ids do not count as served; erasing a user erases what was."""
    client = hash_server.client
    client.upsert_items(text_items("a", "b"))
    client.update_user("ada", [Event(event_id="1", text="a")])
    client.recommend("ada", ignore_event_ids=["1"])
    assert len(ids(client.recommend("ada", rotation=HOUR))) == 2
    assert ids(client.recommend("ada", rotation=HOUR)) == []
    client.delete_user("ada")
    assert len(ids(client.recommend("ada", rotation=HOUR))) == 2


def test_a_changed_item_moves_the_users_who_have_it(hash_server):
    """Before their next answer, to the last bit as though it had always been so."""
    client = hash_server.client
    client.upsert_items([Item(item_id="it", title="a lamp"), *text_items("river", "piano")])
    client.update_user("ada", [Event(event_id="1", item_id="it"), Event(event_id="2", text="kettle")])
    client.recommend("ada")
    client.upsert_items([Item(item_id="it", title="a text on piano")])
    answer = client.recommend("ada", explain=True)
    client.update_user("bea", [Event(event_id="1", item_id="it"), Event(event_id="2", text="kettle")])
    assert ids(answer) == ["piano", "river"]
    assert list(answer.recommendations) == list(client.recommend("bea", explain=True).recommendations)
    assert client.get_user("ada").vector == client.get_user("bea").vector


@pytest.mark.parametrize(
    "rules",
    [
        {"decay_per_event": 0.7},
        {"decay_half_life_s": 50.0, "max_history_events": 2},
        {"repeat_window_s": 15.0, "decay_per_event": 0.9, "older_events": "ignore", "max_history_events": 3},
    ],
    ids=["decay", "half-life", "repeats"],
)
def test_a_late_event_leaves_the_state_as_if_it_had_come_in_order(start_server, rules):
    """To the last bit: the vector, and answers with explanations."""
    client = start_server(**rules).client
    client.upsert_items(text_items("a", "b", "c", "d"))
    subjects = [{"item_id": "a"}, {"text": "lamp"}, {"item_id": "b"}, {"text": "lamp"}, {"item_id": "c"}]
    log = [
        Event(event_id=str(n), **subject, event_time=Timestamp(seconds=1_700_000_000 + 10 * n))
        for n, subject in enumerate(subjects)
    ]
    client.update_user("in order", log)
    for place in (4, 1, 3, 0, 2):
        client.update_user("late", [log[place]])
        client.recommend("late")
    in_order, late = client.get_user("in order"), client.get_user("late")
    assert in_order.vector == late.vector
    answers = [client.recommend(user, explain=True, seen=INCLUDE) for user in ("in order", "late")]
    assert list(answers[0].recommendations) == list(answers[1].recommendations)


def test_ignored_events_count_for_nothing(hash_server):
    """The answer without some events is the one that a user without them would get: what is popular, too."""
    client = hash_server.client
    client.upsert_items(text_items("a", "b", "c"))
    client.update_user("bea", [Event(item_id="b")])
    client.update_user("ada", [Event(event_id="1", item_id="c"), Event(event_id="2", item_id="c")])
    answer = client.recommend("ada", ignore_event_ids=["1", "2"])
    found = [(one.item_id, one.score, one.strategy) for one in answer.recommendations]
    popular, recent = Strategy.STRATEGY_POPULAR, Strategy.STRATEGY_RECENT
    assert found == [("b", 1.0, popular), ("a", 0.0, recent), ("c", 0.0, recent)]


def test_a_forgotten_event_leaves_what_was_popular_before(start_server):
    """However little that counts beside what was taken back."""
    server = start_server(popularity_half_life_s=60)
    client = server.client
    client.upsert_items(text_items("a", "b"))
    client.update_user("bea", [Event(item_id="b", event_time=Timestamp(seconds=int(time.time()) - 3_600))])
    client.update_user("ada", [Event(event_id="1", item_id="b")])
    with grpc.insecure_channel(server.address) as channel:
        UserServiceStub(channel).ForgetEvents(ForgetEventsRequest(user_id="ada", event_ids=["1"]))
    first = client.recommend("nobody").recommendations[0]
    assert (first.item_id, first.score, first.strategy) == ("b", 1.0, Strategy.STRATEGY_POPULAR)


def test_an_item_and_a_text_are_no_repeats_of_each_other(start_server):
    """Where the text reads as the item's id."""
    client = start_server(repeat_window_s=3_600).client
    client.upsert_items(text_items("lamp", "kettle"))
    client.update_user("ada", [Event(event_id="1", item_id="lamp"), Event(event_id="2", text="lamp")])
    (one, _) = client.recommend("ada", explain=True, seen=INCLUDE).recommendations
    assert [part.event_id for part in one.contributions] == ["1", "2"]


def test_a_filter_is_to_blame_only_for_what_it_leaves_out(hash_server):
    """Where all that it keeps out could not come back anyway, the catalogue is exhausted."""
    client = hash_server.client
    client.upsert_items([*text_items("a", "b", "seen"), *text_items("past", expire_time=PAST)])
    client.update_user("ada", [Event(item_id="seen")])
    assert client.recommend("ada", item_ids=["a", "b"]).shortfall == EXHAUSTED
    assert client.recommend("ada", item_ids=["a", "b"], exclude_item_ids=["a"]).shortfall == EXHAUSTED
    assert client.recommend("ada", item_ids=["a"]).shortfall == TOO_NARROW
    assert client.recommend("ada", item_ids=["a"], limit=1).shortfall == NOT_SHORT
    assert client.recommend("ada", min_score=10).shortfall == TOO_NARROW


def test_diversity_weighs_directions_not_lengths(start_server):
    """A long vector far off the target is not relevant for being long."""
    client = start_server(vector_space="plain").client
    east, north, west = np.eye(DIM)[0], np.eye(DIM)[1], -np.eye(DIM)[0]
    client.upsert_items(
        [
            Item(item_id="near", vector=to_bytes(0.1 * (east + 0.1 * north))),
            Item(item_id="long", vector=to_bytes(10 * (0.1 * east + north))),
            Item(item_id="opposite", vector=to_bytes(west)),
        ]
    )
    answer = client.recommend(vector=to_bytes(east), diversity=0.2)
    assert ids(answer) == ["near", "long", "opposite"]


def test_an_exact_search_is_exact_for_long_vectors_too(start_server):
    """Where products are large and cancel out, so that their sums in float32 err by more than scores differ."""
    client = start_server(vector_space="plain").client
    random = np.random.default_rng(1)
    wide = 1e4 * random.normal(size=(500, DIM))
    query = random.normal(size=DIM)
    query /= np.linalg.norm(query)
    vectors = (wide - np.outer(wide @ query, query) + np.outer(random.normal(size=500) * 1e-2, query)).astype("f4")
    for start in range(0, 500, 250):
        client.upsert_items([Item(item_id=f"i{n:03}", vector=to_bytes(vectors[n])) for n in range(start, start + 250)])
    target = from_bytes(to_bytes(query)).astype(np.float64)
    expected = np.sort(vectors.astype(np.float64) @ target)[::-1]
    for limit in range(1, 100, 7):
        answer = client.recommend(vector=to_bytes(query), exact=True, limit=limit)
        assert [one.score for one in answer.recommendations] == pytest.approx(list(expected[:limit]), abs=1e-5)
