"""Decayed counts of events, from which any event can be taken back without a trace."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recwire_server.event import Event, EventType
from recwire_server.history import NS_PER_S, HistoryRules
from recwire_server.item_number import ItemNumbers
from recwire_server.popularity import Popularity
from recwire_server.store.sqlite import SqliteStore

ITEM_IDS = "abc"
NOW_NS = 1_800_000_000 * NS_PER_S


def event(item_id: str, age_s: int, weight: float | None = None) -> Event:
    time_ns = NOW_NS - age_s * NS_PER_S
    return Event("e", item_id, None, None, EventType.VIEW, weight, time_ns, NOW_NS, "")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SqliteStore:
    """A store that nobody starts: counting needs none."""
    return SqliteStore(tmp_path_factory.mktemp("none"), dim=8, model_name="none", model_version="0")


def counts(store: SqliteStore, kept: Sequence[Event], gone: Sequence[Event], half_life_s: float) -> list[float]:
    """The counts of all items, after some events have come and gone."""
    numbers = ItemNumbers()
    popularity = Popularity(store, numbers, HistoryRules(), half_life_s)
    popularity.add([event("first", 0)])  # what all is relative to
    popularity.add([*gone, *kept])
    popularity.remove(gone)
    return popularity.counts(np.array([numbers[item_id] for item_id in ITEM_IDS])).tolist()


events = st.lists(
    st.builds(event, st.sampled_from(ITEM_IDS), st.integers(-200, 10**7), st.sampled_from([None, 2.0, 0.0, -1.0])),
    max_size=12,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(kept=events, gone=events, half_life_s=st.sampled_from([0.0, 1.0, 60.0, 3_600.0, 1e9]))
def test_what_was_taken_back_leaves_no_trace(store, kept, gone, half_life_s):
    """Not in the last digit, however little beside it the rest is, and whatever the order was."""
    assert counts(store, kept, gone, half_life_s) == counts(store, kept[::-1], [], half_life_s)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(kept=events, half_life_s=st.sampled_from([0.0, 3_600.0, 1e9]))
def test_an_event_counts_half_after_a_half_life(store, kept, half_life_s):
    """Beside one of now; one said to happen later counts as one of now, one of no positive weight not at all."""

    def share(one: Event) -> float:
        if one.weight is not None and one.weight <= 0:
            return 0.0
        age_s = max(0, NOW_NS - one.event_time_ns) / NS_PER_S
        return 0.5 ** (age_s / half_life_s) if half_life_s else 1.0

    expected = [sum(share(one) for one in kept if one.item_id == item_id) for item_id in ITEM_IDS]
    assert counts(store, kept, [], half_life_s) == pytest.approx(expected, rel=1e-9)


def test_time_never_runs_out(store):
    """A thousand half-lives after the first event the newest count as they should."""
    numbers = ItemNumbers()
    popularity = Popularity(store, numbers, HistoryRules(), 1.0)
    popularity.add([event("a", 1_000), event("a", 998)])
    popularity.add([event("b", 1), event("c", 0), event("c", 0)])
    a, b, c = popularity.counts(np.array([numbers[item_id] for item_id in ITEM_IDS])).tolist()
    assert (b / c, a / c < 1e-200) == (0.25, True)


SEEN_AT_S = (0, 1, 86_400, 4 * 10**6, 5 * 10**7, 10**10)  # ages; the last lies before 1970


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A data directory with a log of events of all kinds, and those events."""
    chance = random.Random(3)
    log = [
        replace(
            event(chance.choice(ITEM_IDS), chance.choice(SEEN_AT_S) + chance.randrange(-50, 100_000)),
            event_id=str(n),
            type=chance.choice([*EventType]),
            weight=chance.choice([None, None, 3.0, 0.0, -2.0, 1e-300]),
            record_time_ns=NOW_NS + chance.randrange(-60, 60) * NS_PER_S,
        )
        for n in range(3_000)
    ]
    log += [replace(log[0], event_id="text", item_id=None, text="a")]
    data_dir = tmp_path_factory.mktemp("logged")

    async def write() -> None:
        store = SqliteStore(data_dir, dim=8, model_name="none", model_version="0")
        await store.start()
        for start in range(0, len(log), 250):
            await store.append_events(f"user{start}", log[start : start + 250])
        await store.close()

    asyncio.run(write())
    return data_dir, log


@pytest.mark.parametrize("half_life_s", [0.0, 1.0, 3_600.0, 1e7])
async def test_a_start_counts_as_if_the_events_came_one_by_one(logged, half_life_s):
    """What counts beside the most popular is the same to the last bit, also after events have been taken back."""
    data_dir, log = logged
    store = SqliteStore(data_dir, dim=8, model_name="none", model_version="0")
    await store.start()
    numbers = ItemNumbers()
    started, added = (Popularity(store, numbers, HistoryRules(), half_life_s) for _ in range(2))
    await started.start()
    for one in log:
        added.add([one])
    await store.close()
    assert shares(started, numbers) == shares(added, numbers)
    for popularity in (started, added):
        popularity.remove(log[::2])
    assert shares(started, numbers) == shares(added, numbers)


def shares(popularity: Popularity, numbers: ItemNumbers) -> list[float]:
    counts = popularity.counts(numbers.of(ITEM_IDS))
    return (counts / counts.max()).tolist()
