"""Texts a CPU second of each text encoder, in rounds that all of them share."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import Contender, measure

WARM_UPS = 2  # OpenVINO compiles for each shape that it meets; every round has the same ones

BATCH_SIZE = 8  # what recwire runs together
SHORT_TOKENS = 32  # a title or a query
KINDS = {  # of calls, in words
    "single": "single texts",
    "batch": "batches of 8",
    "short_single": "single short texts",
    "short_batch": "batches of 8 short texts",
}

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Task:
    """What a contender does in each round: `function` on each of the calls, of text_count texts altogether."""

    function: Callable[[Any], object]
    calls: Sequence[Any]
    text_count: int

    def warm_up(self) -> None:
        """Bring the model back into the processor's caches, from which another contender's has driven it."""
        self.function(self.calls[0])

    def do(self) -> None:
        """Do it once."""
        for call in self.calls:
            self.function(call)


@dataclass(frozen=True)
class Speed:
    """Texts a CPU second, and the ratio to those of ONNX Runtime in fp32 and of the naive loop in the same rounds:
    medians, and the quartiles over the rounds. None: there is no naive loop."""

    texts_per_cpu_s: float
    texts_per_cpu_s_quartiles: tuple[float, float]
    to_fp32: float
    to_fp32_quartiles: tuple[float, float]
    to_naive: float | None
    to_naive_quartiles: tuple[float, float] | None


def even_calls(
    sequences: Sequence[Sequence[int]], count: int, size: int, max_tokens: int | None = None
) -> list[list[int]]:
    """Return `count` calls of `size` sequences each, as places in `sequences`: neighbours in order of length, at even
    steps through that order, so that together they are about as long as all. max_tokens: longer ones are left out."""
    fit = [place for place, tokens in enumerate(sequences) if max_tokens is None or len(tokens) <= max_tokens]
    order = sorted(fit, key=lambda place: len(sequences[place]))
    steps = [int((step + 0.5) * (len(order) // size) / count) for step in range(count)]
    return [order[step * size : (step + 1) * size] for step in steps]


def measure_cpu(tasks: Mapping[Name, Task], rounds: int) -> dict[Name, NDArray[np.float64]]:
    """Return the CPU seconds a text of each task, (rounds,)."""
    contenders = {name: Contender(task.do, time.process_time, task.warm_up) for name, task in tasks.items()}
    measured = measure(contenders, rounds, calls=1, warm_up_calls=WARM_UPS)
    return {name: np.array(measured[name].rounds_cpu_ms) / 1e3 / task.text_count for name, task in tasks.items()}


def compare(
    cpu_s: NDArray[np.float64], fp32_cpu_s: NDArray[np.float64], naive_cpu_s: NDArray[np.float64] | None
) -> Speed:
    """Return the speed of a task; all are CPU seconds a text, (rounds,), of the same rounds."""
    return Speed(
        texts_per_cpu_s=_rounded(1 / np.median(cpu_s)),
        texts_per_cpu_s_quartiles=_quartiles(1 / cpu_s),
        to_fp32=_rounded(np.median(fp32_cpu_s) / np.median(cpu_s)),
        to_fp32_quartiles=_quartiles(fp32_cpu_s / cpu_s),
        to_naive=None if naive_cpu_s is None else _rounded(np.median(naive_cpu_s) / np.median(cpu_s)),
        to_naive_quartiles=None if naive_cpu_s is None else _quartiles(naive_cpu_s / cpu_s),
    )


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [25, 75])
    return _rounded(low), _rounded(high)


def _rounded(value: Any) -> float:
    return round(float(value), 3)
