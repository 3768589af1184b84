"""What is said of memory is what Python takes, to a quarter."""

import tracemalloc
import uuid
from collections.abc import Callable

import numpy as np
import pytest

from recwire_server.event import Event, EventType
from recwire_server.generation import Generation
from recwire_server.history import History, HistoryRules
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.item_number import ItemNumbers
from recwire_server.store import ItemVector
from recwire_server.user import UserState, seen_item_ids
from recwire_server.vector_space import VectorSpace

DIM = 384
VECTOR = np.ones(DIM, np.float32)


def taken_bytes(make: Callable[[], object]) -> int:
    """Return what the result takes of memory."""
    tracemalloc.start()
    kept = make()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return taken


def user(number: int, event_count: int, is_text: bool) -> UserState:
    """A user with events on items of the catalogue, or on texts."""

    def event(place: int) -> Event:
        item_id = None if is_text else f"item-{number}-{place:06}"
        text, vector = ("a text of some words", np.ones(DIM, np.float32)) if is_text else (None, None)
        time_ns = 1_700_000_000_000_000_000 + place
        return Event(str(uuid.uuid4()), item_id, text, vector, EventType.VIEW, None, time_ns, time_ns + 1, "", place)

    events = [event(place) for place in range(event_count)]
    return UserState(History(HistoryRules(), lambda _: VECTOR, DIM, events), 1, seen_item_ids(events), VectorSpace(), 1)


@pytest.mark.parametrize(("event_count", "is_text"), [(1, False), (100, False), (100, True)])
def test_a_users_bytes_are_what_it_takes(event_count: int, is_text: bool):
    """The bound on users in memory is one in bytes."""
    said = user(0, event_count, is_text).memory_bytes
    taken = taken_bytes(lambda: [user(number, event_count, is_text) for number in range(100)]) / 100
    assert said == pytest.approx(taken, rel=0.25)


def test_an_items_bytes_are_what_it_takes():
    """Beside its vector: ids, times, a few attributes."""
    count = 20_000

    def item(number: int) -> ItemVector:
        attributes = {"price": number / 100, "brand": f"brand {number % 500}", "tags": ("new", "blue")}
        return ItemVector(f"product-{number:08}", VECTOR[:8], number, False, None, None, 0, attributes)

    def filled() -> Generation:
        generation = Generation(1, VectorSpace(), 0, AdaptiveIndex(8), ItemNumbers())
        for first in range(0, count, 1_000):
            generation.put([item(number) for number in range(first, first + 1_000)])
        return generation

    generation = filled()
    said = generation.memory_bytes + generation.index.memory_bytes
    assert said == pytest.approx(taken_bytes(filled), rel=0.25)
