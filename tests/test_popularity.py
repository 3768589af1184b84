"""Decayed counts of events, from which any event can be taken back without a trace."""

from collections.abc import Sequence

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
