"""What became of the calls of a load."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from recwire_server.load.histogram import Histogram

REFUSED = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})
PERCENTS = (50, 90, 99, 99.9, 100)
# A generator that is late itself makes the server look slow. A millisecond is what any process may wait for a core;
# past a tenth of a second the load is not what was asked for, however slow the server is.
TOLERATED_LAG_MS, TOLERATED_LAG_SHARE, MAX_LAG_MS = 1.0, 0.25, 100.0


@dataclass
class Outcomes:
    """Counts and latencies of calls; of an open loop from when each was due, of a closed one from when it was sent.

    offered: all of them, each of which was served, refused, late (answered after its time, or not by then), or failed.
    latency: of those that were served or late. refusal: of those that were refused. lag: how long after they were due
    calls were sent. cpu_s: of the processes that made them.
    """

    duration_s: float
    offered: int = 0
    served: int = 0
    refused: int = 0
    late: int = 0
    failed: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    refusal: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    cpu_s: float = 0.0

    def add(self, code: str, taken_s: float, timeout_s: float) -> None:
        """Count a call that ended with a status code so long after it was due."""
        self.offered += 1
        self.codes[code] += 1
        if code in REFUSED:
            self.refused += 1
            self.refusal.add(taken_s)
        elif code not in ("OK", "DEADLINE_EXCEEDED"):
            self.failed += 1
        else:
            is_late = code != "OK" or taken_s > timeout_s
            self.late += is_late
            self.served += not is_late
            self.latency.add(taken_s)

    def merge(self, other: "Outcomes") -> None:
        """Count another's too; duration_s stays as it is."""
        for name in ("offered", "served", "refused", "late", "failed", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.codes += other.codes
        for name in ("latency", "refusal", "lag"):
            getattr(self, name).merge(getattr(other, name))

    @property
    def is_generator_slow(self) -> bool:
        """Whether calls were sent so late that the latencies tell of the generator too, not of the server alone."""
        lag_ms, latency_ms = self.lag.percentile_ms(99), self.latency.percentile_ms(99)
        if lag_ms is None:
            return False
        return lag_ms > min(max(TOLERATED_LAG_MS, TOLERATED_LAG_SHARE * (latency_ms or 0.0)), MAX_LAG_MS)

    def told(self) -> dict[str, Any]:
        """Return the figures, ready for JSON: calls a second, counts, and milliseconds by percentile (`max`: 100)."""
        return {
            "duration_s": self.duration_s,
            "offered_per_s": round(self.offered / self.duration_s, 1),
            "served_per_s": round(self.served / self.duration_s, 1),
            **{name: getattr(self, name) for name in ("offered", "served", "refused", "late", "failed")},
            "codes": dict(self.codes),
            "latency_ms": _percentiles(self.latency),
            "refusal_ms": _percentiles(self.refusal),
            "generator_lag_ms": _percentiles(self.lag),
            "is_generator_slow": self.is_generator_slow,
            "generator_cpu_s": round(self.cpu_s, 3),
        }


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    return {"max" if one == 100 else f"p{one:g}": histogram.percentile_ms(one) for one in PERCENTS}
