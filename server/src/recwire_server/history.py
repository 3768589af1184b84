"""A user's events, and the vector that they make."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recwire_server.event import Event
from recwire_server.vector import Vector

VectorOf = Callable[[Event], Vector | None]
"""Returns the (dim,) vector of an event as it serves; None while its item is not in the catalogue."""


# What is left of events that cancel out is noise below this share of what was added up: sums in float64 err less, and
# what somebody did weighs more.
NOISE_SHARE = 1e-9


@dataclass(frozen=True)
class UserVector:
    """v(u) = s / n: the weighted mean of the events' vectors.

    s: (dim,) float64, the sum of w_i * decay_i * e_i. n: the sum of |w_i| * decay_i; 0: nothing has moved the user.
    size: the sum of |w_i| * decay_i * max|e_i|, what s would be at most if nothing cancelled out.
    """

    s: NDArray[np.float64]
    n: float
    size: float

    @property
    def value(self) -> NDArray[np.float64]:
        """(dim,) float64; zeros if nothing has moved the user."""
        return self.s / self.n if self.n else self.s

    @property
    def is_zero(self) -> bool:
        """Whether it points nowhere: no events, or only such as move nothing, or ones that cancel out."""
        return float(np.abs(self.s).max()) <= NOISE_SHARE * self.size

    def moved(self, weight: float, vector: Vector, decay: float) -> "UserVector":
        """Return the vector after one more event: s <- g*s + w*e, n <- g*n + |w|."""
        size = abs(weight) * float(np.abs(vector).max())
        return UserVector(
            s=decay * self.s + weight * vector.astype(np.float64),
            n=decay * self.n + abs(weight),
            size=decay * self.size + size,
        )


@dataclass(frozen=True)
class Term:
    """One event's share of a user vector: v(u) = sum of coefficient * vector over the terms."""

    event: Event
    coefficient: float
    vector: Vector


def fold(events: Iterable[Event], vector_of: VectorOf, dim: int, decay: float) -> UserVector:
    """Return the vector that these events make, in their order.

    decay: what the earlier events keep at each further one, 0-1; 1 is the plain weighted mean. An event that does not
    move the user (weight 0, or its item unknown) does not age the others either.
    """
    user = UserVector(np.zeros(dim), n=0.0, size=0.0)
    for event in events:
        vector = vector_of(event)
        if vector is not None and event.effective_weight:
            user = user.moved(event.effective_weight, vector, decay)
    return user


def terms(events: Sequence[Event], vector_of: VectorOf, decay: float) -> list[Term]:
    """Return what the user vector of these events is the sum of; none if nothing moves the user."""
    moving = []
    factor, n = 1.0, 0.0
    for event in reversed(events):
        vector = vector_of(event)
        weight = event.effective_weight
        if vector is not None and weight:
            moving.append((event, weight * factor, vector))
            n += abs(weight) * factor
            factor *= decay
    return [Term(event, weight / n, vector) for event, weight, vector in reversed(moving)]
