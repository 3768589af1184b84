"""What every answer keeps, whatever the catalogue, the search and the history."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

import grpc
import numpy as np
import pytest
from contract_words import holds, passes
from google.protobuf.timestamp_pb2 import Timestamp
from waiting import wait_until_built

from recwire import (
    AttributeValue,
    Client,
    Condition,
    Event,
    Filter,
    Item,
    NumberRange,
    RecommendResponse,
    SeenPolicy,
    Shortfall,
    Strategy,
    StringSet,
    from_bytes,
    to_bytes,
)
from recwire.v1.user_service_pb2 import ForgetEventsRequest
from recwire.v1.user_service_pb2_grpc import UserServiceStub
from recwire_server.config import load_settings
from recwire_server.testing import HashEncoder, running_server

DIM = 32
ITEM_COUNT, TOPIC_COUNT = 10_000, 40
FEW = 12  # items of a narrow filter
WITH_GRAPH = {"exact_search_max_items": 1_000, "search_method": "graph", "graph_min_items": 1_000}
PAST, FUTURE = Timestamp(seconds=1_000_000_000), Timestamp(seconds=4_000_000_000)
INCLUDE = SeenPolicy.SEEN_POLICY_INCLUDE
NOT_SHORT = Shortfall.SHORTFALL_UNSPECIFIED
EXHAUSTED = Shortfall.SHORTFALL_CATALOG_EXHAUSTED
TOO_NARROW = Shortfall.SHORTFALL_FILTER_TOO_NARROW


def ids(answer: RecommendResponse) -> list[str]:
    return [one.item_id for one in answer.recommendations]


def text_items(*item_ids: str, **fields: object) -> list[Item]:
    return [Item(item_id=item_id, texts=[f"a text on {item_id}"], **fields) for item_id in item_ids]


def has_label(label: str) -> Condition:
    return Condition(attribute="labels", any_of=StringSet(values=[label]))


def number_below(bound: float) -> Condition:
    return Condition(attribute="number", range=NumberRange(lt=bound))


@dataclass(frozen=True)
class Large:
    """A server with a graph over 10,000 items, and what it was given.

    vectors: (count, dim) as they serve.
    """

    client: Client
    items: list[Item]
    vectors: np.ndarray


LIKED = [17, 4_711]  # what "ada" has seen


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Iterator[Large]:
    """Items around topics. number: 0-9,999 in no order; labels: "few" on 12 of them, "far" on the 12 that are the
    farthest from user ada."""
    random = np.random.default_rng(3)
    topics = random.normal(size=(TOPIC_COUNT, DIM))
    raw = (topics[random.integers(TOPIC_COUNT, size=ITEM_COUNT)] + random.normal(size=(ITEM_COUNT, DIM))).astype("f4")
    vectors = raw - raw.mean(axis=0, dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = random.permutation(ITEM_COUNT)
    labels: list[list[str]] = [[] for _ in range(ITEM_COUNT)]
    for place in random.choice(np.delete(np.arange(ITEM_COUNT), LIKED), FEW, replace=False):
        labels[place].append("few")
    for place in np.argsort(vectors @ vectors[LIKED].sum(axis=0))[:FEW]:
        labels[place].append("far")
    items = [
        Item(
            item_id=f"i{n:05}",
            vector=to_bytes(raw[n]),
            attributes={
                "number": AttributeValue(number=numbers[n]),
                "even": AttributeValue(flag=bool(numbers[n] % 2 == 0)),
                "labels": AttributeValue(labels=StringSet(values=labels[n])),
                "digit": AttributeValue(text=str(numbers[n] % 10)),
            },
        )
        for n in range(ITEM_COUNT)
    ]
    flags = {"listen": "127.0.0.1:0", "data_dir": tmp_path_factory.mktemp("large"), **WITH_GRAPH}
    with ExitStack() as stack:
        address = stack.enter_context(running_server(load_settings(flags), HashEncoder()))
        client = stack.enter_context(Client(address))
        fill(client, items)
        client.update_user("ada", [Event(item_id=f"i{n:05}") for n in LIKED])
        yield Large(client, items, vectors)


def fill(client: Client, items: list[Item]) -> None:
    """Add items and wait until a graph in the centred space has nearly all of them."""
    for _ in client.import_items(items):
        pass
    wait_until_built(client)
    info = client.get_server_info()
    assert (info.vector_space, info.index.method) == ("centred", "graph")


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


def test_excluded_ids_never_come(large):
    """However near they are: the next ones take their places."""
    client = large.client
    best = ids(client.recommend("ada", limit=300, exact=True))
    for exact in (False, True):
        answer = ids(client.recommend("ada", limit=50, exclude_item_ids=best[:200], exact=exact))
        assert len(answer) == 50
        assert not set(answer) & set(best[:200])
        if exact:
            assert answer == best[200:250]


def test_filters_never_leak(large):
    """Every recommendation passes, whether the graph is searched or all is scanned, to the known and the unknown."""
    random = np.random.default_rng(8)
    for number in range(60):
        tests = [
            number_below(float(random.choice([5_000, 1_000, 100, 20]))),
            Condition(attribute="digit", any_of=StringSet(values=random.choice(list("0123456789"), 3))),
            Condition(attribute="even", equals=bool(random.integers(2))),
            Condition(attribute="number", range=NumberRange(gte=2_000, lte=float(random.integers(2_000, 9_999)))),
        ]
        random.shuffle(tests)
        filter_ = Filter(must=tests[:1], should=tests[1:3][: random.integers(3)], must_not=tests[3:][: number % 2])
        passing = sum(passes(item, filter_) for item in large.items)
        for target in ({"user_id": "ada"}, {"user_id": "nobody"}, {"item_id": "i00001"}):
            answer = large.client.recommend(**target, filter=filter_, limit=30)
            found = [large.items[int(item_id[1:])] for item_id in ids(answer)]
            assert all(passes(item, filter_) for item in found)
            assert len(found) == 30 or len(found) >= passing - len(LIKED)


@pytest.mark.parametrize("user", ["ada", "nobody"])
@pytest.mark.parametrize("label", ["few", "far"])
def test_a_narrow_filter_yields_all_that_pass(large, user, label):
    """Of 10,000 items 12 pass: 10 come back where 10 are wanted, and 12 where 20 are, with the reason."""
    passing = {item.item_id for item in large.items if holds(item, has_label(label))}
    filter_ = Filter(must=[has_label(label)])
    ten = large.client.recommend(user, limit=10, filter=filter_)
    twenty = large.client.recommend(user, limit=20, filter=filter_)
    assert (len(ids(ten)), ten.shortfall) == (10, NOT_SHORT)
    assert (set(ids(twenty)), twenty.shortfall) == (passing, TOO_NARROW)
    assert len(ids(twenty)) == FEW
    assert ids(ten) == ids(twenty)[:10]


@pytest.mark.parametrize("user", ["ada", "nobody"])
def test_a_narrow_filter_yields_all_that_pass_and_are_not_excluded(large, user):
    """Four of the 12 are excluded: 8 are left."""
    passing = sorted(item.item_id for item in large.items if holds(item, has_label("few")))
    filter_ = Filter(must=[has_label("few")])
    options = {"filter": filter_, "exclude_item_ids": [*passing[:4], "i00000", "none"]}
    ten = large.client.recommend(user, limit=10, **options)
    eight = large.client.recommend(user, limit=8, **options)
    assert (set(ids(ten)), ten.shortfall) == (set(passing[4:]), TOO_NARROW)
    assert (len(ids(eight)), eight.shortfall) == (8, NOT_SHORT)


def test_the_farthest_are_far(large):
    """That the label "far" is what the test above says."""
    answer = large.client.recommend("ada", filter=Filter(must=[has_label("far")]), limit=FEW)
    scores = np.sort(large.vectors @ large.vectors[LIKED].mean(axis=0))
    # The server's mean is of the items that there were when it was estimated.
    assert sorted(one.score for one in answer.recommendations) == pytest.approx(list(scores[:FEW]), abs=0.05)


def test_a_catalogue_that_has_nearly_expired_still_fills_an_answer(start_server):
    """Of 10,000 items all but 10 have expired, the nearest too: the 10 come back."""
    client = start_server(**WITH_GRAPH).client
    random = np.random.default_rng(6)
    fill(
        client,
        [
            Item(
                item_id=f"i{n}",
                vector=to_bytes(random.normal(size=DIM)),
                expire_time=FUTURE if n % 1_000 == 7 else PAST,
            )
            for n in range(ITEM_COUNT)
        ],
    )
    client.update_user("ada", [Event(item_id="i1"), Event(item_id="i2")])
    fresh = {f"i{n}" for n in range(7, ITEM_COUNT, 1_000)}
    for user in ("ada", "nobody"):
        for options in ({}, {"exact": True}):
            ten = client.recommend(user, limit=10, **options)
            eleven = client.recommend(user, limit=11, **options)
            assert (set(ids(ten)), len(ids(ten)), ten.shortfall) == (fresh, 10, NOT_SHORT)
            assert (set(ids(eleven)), eleven.shortfall) == (fresh, EXHAUSTED)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
def test_a_search_finds_what_an_exact_one_does(large, share):
    """Recall@10 of .9 or more for means of several items, the hard case, under filters of every selectivity."""
    random = np.random.default_rng(9)
    filter_ = Filter(must=[number_below(share * ITEM_COUNT)])
    recalls = []
    for _ in range(100):
        events = [Event(item_id=f"i{n:05}") for n in random.integers(ITEM_COUNT, size=5)]
        found, exact = (ids(large.client.recommend(session=events, filter=filter_, exact=e)) for e in (False, True))
        assert len(found) == len(exact) == 10
        recalls.append(len(set(found) & set(exact)) / 10)
    assert np.mean(recalls) >= 0.9


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
