"""How long one waits in a queue, how long one may, and when to come back."""

import math
import random
import time
from dataclasses import dataclass
from math import inf

# Of the last while, with a time constant of so many seconds, some have waited for more than so large a share: then a
# queue stands. It holds no burst, which takes a second to become one, but more than can be done, and waiting in it only
# makes every call slow (as in Maurer, "Fail at Scale", ACM Queue 13-8, 2015; but a share, where that asks for a queue
# that was never empty: under twice the load that can be served one is, now and then).
MEMORY_S = 0.62
STANDING_SHARE = 0.8
# What a piece of work that was slower than the estimate weighs in it.
SLOWER_WEIGHT = 0.1
MIN_RETRY_DELAY_S = 0.05  # while nothing has been timed yet, and so that nobody asks again in a tight loop


@dataclass(frozen=True)
class QueueLimit:
    """Seconds that one may wait, by estimate: in a burst, and in a queue that stands."""

    max_wait_s: float = inf
    max_standing_wait_s: float = inf

    def wait_s(self, *, is_standing: bool) -> float:
        """Return for how long one may wait."""
        return min(self.max_wait_s, self.max_standing_wait_s) if is_standing else self.max_wait_s


class Standing:
    """Whether a queue stands. Told whenever it becomes empty, or is empty no longer."""

    def __init__(self) -> None:
        self._is_filled = False
        self._share = 0.0  # of the last while in which it was filled, up to the time below
        self._time_s = time.monotonic()

    def become(self, *, filled: bool) -> None:
        """Take note of how the queue is from now on."""
        self._advance()
        self._is_filled = filled

    def is_standing(self) -> bool:
        """Return whether the queue has stood until now."""
        self._advance()
        return self._share > STANDING_SHARE

    def _advance(self) -> None:
        now_s = time.monotonic()
        kept = math.exp((self._time_s - now_s) / MEMORY_S)
        self._share = kept * self._share + (1 - kept) * self._is_filled
        self._time_s = now_s


class Pace:
    """Seconds that a piece of work takes, by estimate; 0 before the first.

    A quicker one than the estimate counts at once, a slower one in part: the first ones are slow, and a pause of the
    machine is no pace; nobody is to be refused for either.
    """

    def __init__(self) -> None:
        self.estimate_s = 0.0

    def took(self, taken_s: float) -> None:
        """Take note of what a piece of work has taken."""
        is_slower = 0 < self.estimate_s < taken_s
        self.estimate_s += (SLOWER_WEIGHT if is_slower else 1) * (taken_s - self.estimate_s)


def retry_delay_s(wait_s: float) -> float:
    """Return when to come back to a queue in which one would wait so long: not all who are refused at once come back at
    once."""
    return max(wait_s, MIN_RETRY_DELAY_S) * random.uniform(1, 2)
