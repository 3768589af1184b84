"""How long one may wait in a queue."""

from dataclasses import dataclass
from math import inf

# A queue that has not been empty for so long stands: it holds no burst, but more than can be done, and waiting in it
# only makes every call slow (controlled delay, as in Maurer, "Fail at Scale", ACM Queue 13-8, 2015).
BURST_S = 1.0


@dataclass(frozen=True)
class QueueLimit:
    """Seconds that one may wait, by estimate: in a burst, and in a queue that stands."""

    max_wait_s: float = inf
    max_standing_wait_s: float = inf

    def wait_s(self, standing_s: float) -> float:
        """Return for how long one may wait in a queue that has not been empty for so long."""
        return min(self.max_wait_s, self.max_standing_wait_s) if standing_s > BURST_S else self.max_wait_s
