"""What most users like lately."""

from collections import defaultdict
from collections.abc import Sequence
from math import exp2, floor, fsum, ldexp

import numpy as np
from numpy.typing import NDArray

from recwire_server.column import Column
from recwire_server.event import Event
from recwire_server.history import NS_PER_S, HistoryRules
from recwire_server.item_number import ItemNumbers
from recwire_server.store import Store

# What an event counts is relative to a time, so that sums need no touch as they age. All are made smaller before a
# count could pass two to the power of this.
MAX_EXPONENT = 500


class Popularity:
    """Counts each item's events of positive weight, over all users; of two events that are a half-life apart, the
    earlier counts half of the later.

    half_life_s: 0: all count the same. Sums are exact, so that an event that is taken back leaves nothing. Belongs to
    the event loop.
    """

    def __init__(self, store: Store, numbers: ItemNumbers, rules: HistoryRules, half_life_s: float) -> None:
        self._store = store
        self._numbers = numbers
        self._rules = rules
        self._half_life_ns = half_life_s * NS_PER_S
        self._first_ns: int | None = None  # when an event counts 2 ** -exponent
        self._exponent = 0
        self._sums: defaultdict[int, _ExactSum] = defaultdict(_ExactSum)  # by number
        self._counts = Column(np.float64, 0.0)  # the same, rounded

    async def start(self) -> None:
        """Count what the store has."""
        async for events in self._store.item_events():
            self.add(events)

    def add(self, events: Sequence[Event]) -> None:
        """Count new events."""
        self._change(events, 1)

    def remove(self, events: Sequence[Event]) -> None:
        """Count events no more that were counted."""
        self._change(events, -1)

    def counts(self, numbers: NDArray[np.int64], ignored: Sequence[Event] = ()) -> NDArray[np.float64]:
        """Return the (count,) decayed event counts of items, by their numbers, as though some events had not happened;
        one event of now is no fixed amount, only the ratios mean something."""
        if len(numbers):
            self._counts.reach(int(numbers.max()) + 1)
        counts: NDArray[np.float64] = self._counts.rows[numbers]
        shares = defaultdict(list)
        for event, number in self._counted(ignored):
            shares[number].append(-self._share(event))
        for number, less in shares.items():
            counts[numbers == number] = self._sums[number].value(*less)
        return counts

    def _counted(self, events: Sequence[Event]) -> list[tuple[Event, int]]:
        return [
            (event, self._numbers[event.item_id])
            for event in events
            if event.item_id is not None and self._rules.weight(event) > 0
        ]

    def _change(self, events: Sequence[Event], sign: int) -> None:
        changed = set()
        for event, number in self._counted(events):
            self._sums[number].add(sign * self._share(event))
            changed.add(number)
        for number in changed:  # once an item: a start counts thousands of events at a time
            self._counts[number] = self._sums[number].value()

    def _share(self, event: Event) -> float:
        if not self._half_life_ns:
            return 1.0
        # What is said to happen in the future must not outweigh all that really happens until then.
        time_ns = min(event.event_time_ns, event.record_time_ns)
        if self._first_ns is None:
            self._first_ns = time_ns
        half_lives = (time_ns - self._first_ns) / self._half_life_ns
        whole = floor(half_lives)
        if whole - self._exponent > MAX_EXPONENT:
            self._scale(self._exponent - whole)
        # The whole half-lives by exponent: scaling changes no digit, and the same event counts the same ever after.
        return ldexp(exp2(half_lives - whole), whole - self._exponent)

    def _scale(self, exponent: int) -> None:
        self._exponent -= exponent
        for number, sum_ in self._sums.items():
            sum_.scale(exponent)
            self._counts[number] = sum_.value()


class _ExactSum:
    """A sum of floats without rounding: parts of which none overlaps another (Shewchuk, 1997)."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[float] = []

    def add(self, number: float) -> None:
        """Add a number."""
        rests = []
        for part in self._parts:
            larger, smaller = (number, part) if abs(number) >= abs(part) else (part, number)
            number = larger + smaller
            rest = smaller - (number - larger)
            if rest:
                rests.append(rest)
        self._parts = [*rests, number] if number else rests

    def scale(self, exponent: int) -> None:
        """Multiply by two to the power of an exponent; what gets smaller than a float can be is gone."""
        scaled = (ldexp(part, exponent) for part in self._parts)
        self._parts = [part for part in scaled if part]

    def value(self, *more: float) -> float:
        """Return the sum, with more numbers where there are any, rounded once; never below 0."""
        return max(fsum([*self._parts, *more]), 0.0)
