"""What most users like lately."""

from collections import defaultdict
from collections.abc import Sequence
from math import exp2

import numpy as np
from numpy.typing import NDArray

from recwire_server.column import Column
from recwire_server.event import Event
from recwire_server.history import NS_PER_S, HistoryRules
from recwire_server.item_number import ItemNumbers
from recwire_server.store import Store

# What an event counts is relative to a time, so that sums need no touch as they age. The time moves before a count
# could pass two to the power of this.
MAX_HALF_LIVES = 500.0


class Popularity:
    """Counts each item's events of positive weight, over all users; of two events that are a half-life apart, the
    earlier counts half of the later.

    half_life_s: 0: all count the same. Belongs to the event loop.
    """

    def __init__(self, store: Store, numbers: ItemNumbers, rules: HistoryRules, half_life_s: float) -> None:
        self._store = store
        self._numbers = numbers
        self._rules = rules
        self._half_life_ns = half_life_s * NS_PER_S
        self._base_ns: int | None = None  # when an event counts 1
        self._sums = Column(np.float64, 0.0)
        self._event_counts = Column(np.int64, 0)

    async def start(self) -> None:
        """Count what the store has."""
        async for events in self._store.item_events():
            self.add(events)

    def add(self, events: Sequence[Event]) -> None:
        """Count new events."""
        for event in self._counted(events):
            number = self._numbers[event.item_id or ""]
            self._event_counts[number] += 1
            self._sums[number] += self._share(event)

    def remove(self, events: Sequence[Event]) -> None:
        """Count events no more that were counted."""
        for event in self._counted(events):
            number = self._numbers[event.item_id or ""]
            self._event_counts[number] -= 1
            self._sums[number] -= self._share(event)
            if not self._event_counts[number]:  # nothing is left, rounding neither
                self._sums[number] = 0.0

    def counts(self, numbers: NDArray[np.int64], ignored: Sequence[Event] = ()) -> NDArray[np.float64]:
        """Return the (count,) decayed event counts of items, by their numbers, as though some events had not happened;
        one event of now is no fixed amount, only the ratios mean something."""
        if len(numbers):
            self._sums.reach(int(numbers.max()) + 1)
        counts: NDArray[np.float64] = self._sums.rows[numbers]
        ignored_by_number = defaultdict(list)
        for event in self._counted(ignored):
            ignored_by_number[self._numbers[event.item_id or ""]].append(self._share(event))
        for number, shares in ignored_by_number.items():
            left = self._sums[number] - sum(shares) if self._event_counts[number] > len(shares) else 0.0
            counts[numbers == number] = max(left, 0.0)
        return counts

    def _counted(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if event.item_id is not None and self._rules.weight(event) > 0]

    def _share(self, event: Event) -> float:
        if not self._half_life_ns:
            return 1.0
        # What is said to happen in the future must not outweigh all that really happens until then.
        time_ns = min(event.event_time_ns, event.record_time_ns)
        if self._base_ns is None:
            self._base_ns = time_ns
        half_lives = (time_ns - self._base_ns) / self._half_life_ns
        if half_lives > MAX_HALF_LIVES:
            self._sums.rows[:] *= exp2(-half_lives)
            self._base_ns, half_lives = time_ns, 0.0
        return exp2(max(half_lives, -2 * MAX_HALF_LIVES))
