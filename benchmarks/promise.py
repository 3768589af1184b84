"""What a benchmark should show, as a ratio of two contenders in one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.measurement import Measurement


@dataclass(frozen=True)
class Promise:
    """A ratio of medians, and whether it is what is promised. sense: "<=", "<" or ">=", of measured to limit.

    quartiles: of the rounds' ratios.
    """

    what: str
    sense: str
    limit: float
    measured: float
    quartiles: tuple[float, float]
    met: bool


def cpu_promise(what: str, sense: str, limit: float, one: Measurement, other: Measurement) -> Promise:
    """Return what the CPU time of one is of another's."""
    return _promise(what, sense, limit, one.cpu_ms / other.cpu_ms, one.rounds_cpu_ms, other.rounds_cpu_ms)


def p50_promise(what: str, sense: str, limit: float, one: Measurement, other: Measurement) -> Promise:
    """Return what the median time of one is of another's."""
    return _promise(what, sense, limit, one.p50_ms / other.p50_ms, one.rounds_p50_ms, other.rounds_p50_ms)


def _promise(what: str, sense: str, limit: float, ratio: float, ones: list[float], others: list[float]) -> Promise:
    low, high = np.percentile(np.array(ones) / np.array(others), (25, 75)).round(3).tolist()
    met = {"<=": ratio <= limit, "<": ratio < limit, ">=": ratio >= limit}[sense]
    return Promise(what, sense, limit, round(ratio, 3), (low, high), met)


def promise_table(promises: Sequence[Mapping[str, Any]]) -> Table:
    """Return promises as a result has them, for people."""
    shown = Table("promise", "limit", "measured", "quartiles", "met")
    for one in promises:
        low, high = one["quartiles"]
        met = "yes" if one["met"] else "no"
        shown.add_row(
            one["what"], f"{one['sense']} {one['limit']:g}", f"{one['measured']:g}", f"{low:g} to {high:g}", met
        )
    return shown
