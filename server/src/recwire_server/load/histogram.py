"""Durations, counted in a histogram that keeps three significant figures and can be merged."""

from collections.abc import Callable
from typing import Self

from hdrh.histogram import HdrHistogram

LEAST_US, MOST_US = 1, 60_000_000  # a minute: no deadline of a call that somebody waits for is longer
SIGNIFICANT_FIGURES = 3


class Histogram:
    """How long things took. What took longer than a minute counts as a minute."""

    def __init__(self) -> None:
        self._hdr = HdrHistogram(LEAST_US, MOST_US, SIGNIFICANT_FIGURES)

    def __reduce__(self) -> tuple[Callable[[str], Self], tuple[str]]:
        # Its counts lie in memory of C, which pickle does not take.
        return self.decoded, (self._hdr.encode(),)

    @classmethod
    def decoded(cls, encoded: str) -> Self:
        """Return the histogram of HdrHistogram's own format, compressed, in base64."""
        histogram = cls()
        histogram._hdr.decode_and_add(encoded)
        return histogram

    @property
    def count(self) -> int:
        """How many there are."""
        count: int = self._hdr.get_total_count()
        return count

    def add(self, duration_s: float) -> None:
        """Count one."""
        self._hdr.record_value(min(max(round(1e6 * duration_s), LEAST_US), MOST_US))

    def merge(self, other: "Histogram") -> None:
        """Count another's too."""
        self._hdr.add(other._hdr)

    def percentile_ms(self, percent: float) -> float | None:
        """Return what so many percent took at most; 100: the longest. None: there are none."""
        if not self.count:
            return None
        return float(self._hdr.get_value_at_percentile(percent)) / 1e3
