"""A user's events, and the vector that they make."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import exp2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recwire_server.event import DEFAULT_WEIGHTS, Event, EventType
from recwire_server.vector import Vector

VectorOf = Callable[[Event], Vector | None]
"""Returns the (dim,) vector of an event as it serves; None while its item is not in the catalogue."""

# What is left of events that cancel out is noise below this share of what was added up: sums in float64 err less, and
# what somebody did weighs more.
NOISE_SHARE = 1e-9
NS_PER_S = 1_000_000_000
# What a history and one of its events take of memory beside their vectors and texts, as tracemalloc counts it.
HISTORY_BYTES, EVENT_BYTES = 2_500, 540


@dataclass(frozen=True)
class HistoryRules:
    """How the events of a history count.

    weights: of each type of event. decay_per_event: what earlier events keep at each further one that moves the user,
    0-1; 1: all. half_life_s: the time in which an event loses half of its weight beside later ones; 0: none does; both
    may be set. repeat_window_s: of events equal in subject, type and weight, those that come within so many seconds of
    one that counts do not count; 0: all count. max_events: the newest events, which count one by one; what is older
    counts as a sum (older_count) or no more.
    """

    weights: Mapping[EventType, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    decay_per_event: float = 1.0
    half_life_s: float = 0.0
    repeat_window_s: float = 0.0
    max_events: int = 1_000
    older_count: bool = True

    def weight(self, event: Event) -> float:
        """Return the event's own weight, or its type's."""
        return self.weights[event.type] if event.weight is None else event.weight

    def kept(self, from_ns: int, to_ns: int) -> float:
        """Return what events up to one time keep at an event of another, 0-1."""
        if not self.half_life_s:
            return self.decay_per_event
        return self.decay_per_event * exp2((from_ns - to_ns) / NS_PER_S / self.half_life_s)


@dataclass(frozen=True)
class UserVector:
    """v(u) = s / n: the weighted mean of the events' vectors.

    s: (dim,) float64, the sum of w_i * decay_i * e_i. n: the sum of |w_i| * decay_i; 0: nothing has moved the user.
    size: the sum of |w_i| * decay_i * max|e_i|, what s would be at most if nothing cancelled out. time_ns: of the
    newest event in it, which the decay is relative to.
    """

    s: NDArray[np.float64]
    n: float
    size: float
    time_ns: int

    @classmethod
    def zero(cls, dim: int) -> "UserVector":
        """Return that of no events."""
        return cls(np.zeros(dim), n=0.0, size=0.0, time_ns=0)

    @property
    def value(self) -> NDArray[np.float64]:
        """(dim,) float64; zeros if nothing has moved the user."""
        return self.s / self.n if self.n else self.s

    @cached_property
    def is_zero(self) -> bool:
        """Whether it points nowhere: no events, or only such as move nothing, or ones that cancel out."""
        return float(np.abs(self.s).max()) <= NOISE_SHARE * self.size

    def moved(self, weight: float, vector: Vector, kept: float, time_ns: int) -> "UserVector":
        """Return the vector after one more event: s <- g*s + w*e, n <- g*n + |w|, with g = kept."""
        size = abs(weight) * float(np.abs(vector).max())
        return UserVector(
            s=kept * self.s + weight * vector.astype(np.float64),
            n=kept * self.n + abs(weight),
            size=kept * self.size + size,
            time_ns=time_ns,
        )

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same to the last bit."""
        if not isinstance(other, UserVector):
            return NotImplemented
        numbers = (self.n, self.size, self.time_ns) == (other.n, other.size, other.time_ns)
        return numbers and self.s.tobytes() == other.s.tobytes()

    __hash__ = None  # type: ignore[assignment]


class Entry(NamedTuple):
    """An event, the weight it moves the user with (0: not at all), and what earlier events keep at it (1: all)."""

    event: Event
    weight: float
    kept: float


@dataclass(frozen=True)
class Term:
    """A share of a user vector: v(u) = sum of coefficient * vector over the terms.

    event: whose share it is; None: that of the older events together.
    """

    event: Event | None
    coefficient: float
    vector: NDArray[np.floating]


class History:
    """A user's events in order, and the vector that they make, which one more event changes in O(1).

    The same events give the same vector to the last bit, whether they came one by one or are replayed. vector_of is
    asked once an event, when it is added: where its answers change, a new history is made. Belongs to the event loop.
    """

    def __init__(self, rules: HistoryRules, vector_of: VectorOf, dim: int, events: Iterable[Event] = ()) -> None:
        self._rules = rules
        self._vector_of = vector_of
        self._entries: deque[Entry] = deque()  # the newest
        self._vector = self._older = UserVector.zero(dim)
        self._counted_times: dict[object, int] = {}  # of repeats: when the last like it counted
        self.older_event_count = 0
        self._event_bytes = 0
        for event in events:
            self.append(event)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def vector(self) -> UserVector:
        """The vector of all events that count."""
        return self._vector

    @property
    def events(self) -> list[Event]:
        """The newest events, as many as count one by one, oldest first."""
        return [entry.event for entry in self._entries]

    @property
    def memory_bytes(self) -> int:
        """What it takes of memory, about."""
        return HISTORY_BYTES + self._vector.s.nbytes + self._older.s.nbytes + self._event_bytes

    def is_next(self, event: Event) -> bool:
        """Return whether the event comes after all that are here; one that does not needs a replay."""
        return not self._entries or event.place >= self._entries[-1].event.place

    def append(self, event: Event) -> None:
        """Add the next event, in order of `place`."""
        weight, kept = self._rules.weight(event), 1.0
        if self._rules.repeat_window_s and self._is_repeat(event):
            weight = 0.0
        vector = self._vector_of(event) if weight else None
        if vector is None:  # it does not age the others either
            weight = 0.0
        else:
            kept = self._rules.kept(self._vector.time_ns, event.event_time_ns) if self._vector.n else 1.0
            self._vector = self._vector.moved(weight, vector, kept, event.event_time_ns)
        self._entries.append(Entry(event, weight, kept))
        self._event_bytes += _bytes_of(event)
        if len(self._entries) > self._rules.max_events:
            self._let_go()

    def terms(self) -> list[Term]:
        """Return what the vector is the sum of, oldest first; none if nothing moves the user."""
        terms: list[Term] = []
        kept, n = 1.0, self._vector.n
        for entry in reversed(self._entries):
            if entry.weight:
                vector = self._vector_of(entry.event)
                assert vector is not None, "it had one when it was added"
                terms.append(Term(entry.event, entry.weight * kept / n, vector))
            kept *= entry.kept
        if self._older.n:
            terms.append(Term(None, kept / n, self._older.s))
        return terms[::-1]

    def _is_repeat(self, event: Event) -> bool:
        vector = event.vector if event.text is None else None  # a text's own
        key = (event.item_id, event.text, None if vector is None else vector.tobytes(), event.type, event.weight)
        counted_ns = self._counted_times.get(key)
        if counted_ns is not None and event.event_time_ns - counted_ns <= self._rules.repeat_window_s * NS_PER_S:
            return True
        self._counted_times[key] = event.event_time_ns
        return False

    def _let_go(self) -> None:
        """Let the oldest event count with the older ones."""
        oldest = self._entries.popleft()
        self._event_bytes -= _bytes_of(oldest.event)
        self.older_event_count += 1
        if not oldest.weight:
            return
        vector = self._vector_of(oldest.event)
        assert vector is not None, "it had one when it was added"
        if self._rules.older_count:
            self._older = self._older.moved(oldest.weight, vector, oldest.kept, oldest.event.event_time_ns)
        else:
            self._vector = self._sum_of_entries()

    def _sum_of_entries(self) -> UserVector:
        total = UserVector.zero(len(self._vector.s))
        for entry in self._entries:
            if entry.weight:
                vector = self._vector_of(entry.event)
                assert vector is not None, "it had one when it was added"
                total = total.moved(entry.weight, vector, entry.kept, entry.event.event_time_ns)
        return total


def _bytes_of(event: Event) -> int:
    vector_bytes = 0 if event.vector is None else event.vector.nbytes
    return EVENT_BYTES + vector_bytes + len(event.text or "")
