"""The loads that there are, and when the calls of an open one are due: made in advance, whatever becomes of them."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Spacing(StrEnum):
    """How calls are spread: as those of many users who know nothing of each other, or evenly."""

    POISSON = "poisson"
    EVEN = "even"


@dataclass(frozen=True)
class OpenLoad:
    """`rate` calls a second, begun when they are due. Those of the first warm_up_s are not counted."""

    rate: float
    duration_s: float
    warm_up_s: float
    timeout_s: float
    spacing: Spacing = Spacing.POISSON


@dataclass(frozen=True)
class ClosedLoad:
    """`in_flight` calls at any time. Those of the first warm_up_s are not counted."""

    in_flight: int
    duration_s: float
    warm_up_s: float
    timeout_s: float


Load = OpenLoad | ClosedLoad


def due_times(load: OpenLoad, seed: int) -> list[float]:
    """Return the seconds from the beginning at which the load's calls are due, in order."""
    whole_s = load.warm_up_s + load.duration_s
    if load.spacing is Spacing.EVEN:
        return [float(time_s) for time_s in np.arange(round(load.rate * whole_s)) / load.rate]
    chance = np.random.default_rng(seed)
    # Given how many there are, a Poisson process has each of them anywhere.
    return [float(time_s) for time_s in np.sort(chance.uniform(0, whole_s, chance.poisson(load.rate * whole_s)))]
