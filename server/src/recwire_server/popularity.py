"""What most users like lately."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import exp2, floor, frexp, fsum, ldexp

import numpy as np
from numpy.typing import NDArray

from recwire_server.column import Column
from recwire_server.event import Event
from recwire_server.history import NS_PER_S, HistoryRules
from recwire_server.item_number import ItemNumbers
from recwire_server.store import LikedItems, Store

# What an event counts is relative to a time, so that sums need no touch as they age. All are made smaller before a
# count could pass two to the power of this.
MAX_EXPONENT = 500
# What a start counts together, with numpy, a tenth of the time that one by one takes: a million events, 120 MB.
PIECES_AT_ONCE = 20
# A million numbers of so many bits add up in a float without rounding.
PART_BITS = 30
MIN_EXPONENT = -1074  # of a float


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
        types = [type_ for type_, weight in self._rules.weights.items() if weight > 0]
        pieces: list[LikedItems] = []
        async for liked in self._store.liked_items(types):
            pieces.append(liked)
            if len(pieces) == PIECES_AT_ONCE:
                self._add_many(pieces)
                pieces.clear()
        self._add_many(pieces)

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
        for number in changed:  # once an item: who is erased may have thousands of events
            self._counts[number] = self._sums[number].value()

    def _add_many(self, pieces: Sequence[LikedItems]) -> None:
        """Count what the store has, as `add` would."""
        if not pieces:
            return
        numbers = np.concatenate([self._numbers.of(piece.item_ids) for piece in pieces])
        shares = self._shares(np.concatenate([piece.times_ns for piece in pieces]))
        for number, part in _exact_parts(numbers, shares):
            self._sums[number].add(part)
        for number in np.unique(numbers).tolist():
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
        self._make_room(whole)
        # The whole half-lives by exponent: scaling changes no digit, and the same event counts the same ever after.
        return ldexp(exp2(half_lives - whole), whole - self._exponent)

    def _shares(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (count,) the shares of events by their times, to the last bit as `_share` has them."""
        if not self._half_life_ns:
            return np.ones(len(times_ns))
        if self._first_ns is None:
            self._first_ns = int(times_ns[0])
        # Differences may take 64 bits and a sign.
        later = (times_ns - self._first_ns).view(np.uint64).astype(np.float64)
        earlier = (self._first_ns - times_ns).view(np.uint64).astype(np.float64)
        half_lives = np.where(times_ns >= self._first_ns, later, -earlier) / self._half_life_ns
        wholes = np.floor(half_lives)
        self._make_room(int(wholes.max()))
        # Not numpy's exp2: it differs in the last bit here and there.
        fractions = np.fromiter(map(exp2, (half_lives - wholes).tolist()), np.float64, len(times_ns))
        shares: NDArray[np.float64] = np.ldexp(fractions, wholes.astype(np.int64) - self._exponent)
        return shares

    def _make_room(self, whole: int) -> None:
        """Let an event count that is so many half-lives after the first."""
        if whole - self._exponent > MAX_EXPONENT:
            self._scale(self._exponent - whole)

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


def _exact_parts(numbers: NDArray[np.int64], shares: NDArray[np.float64]) -> Iterator[tuple[int, float]]:
    """Yield a few floats for each number that add up to exactly the sum of its shares.

    numbers: (count,); shares: (count,), not negative. Each turn takes the upper PART_BITS bits of what is left.
    """
    while shares.any():
        unit = ldexp(1.0, max(frexp(shares.max())[1] - PART_BITS, MIN_EXPONENT))
        upper = np.floor(shares / unit) * unit
        shares = shares - upper
        sums = np.bincount(numbers, upper)
        found = np.flatnonzero(sums)
        yield from zip(found.tolist(), sums[found].tolist(), strict=True)
