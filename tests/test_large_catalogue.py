"""What every answer from a large catalogue keeps, whatever the filter: with a graph, and items that are few or far."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from contract_words import holds, ids, passes
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
    Shortfall,
    StringSet,
    to_bytes,
)
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

DIM = 32
ITEM_COUNT, TOPIC_COUNT = 10_000, 40
FEW = 12  # items of a narrow filter
WITH_GRAPH = {"exact_search_max_items": 1_000, "search_method": "graph", "graph_min_items": 1_000}
PAST, FUTURE = Timestamp(seconds=1_000_000_000), Timestamp(seconds=4_000_000_000)
NOT_SHORT = Shortfall.SHORTFALL_UNSPECIFIED
EXHAUSTED = Shortfall.SHORTFALL_CATALOG_EXHAUSTED
TOO_NARROW = Shortfall.SHORTFALL_FILTER_TOO_NARROW


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
