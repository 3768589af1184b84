"""Rounds of several contenders, interleaved, and what is told of them."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Contender:
    """Something to time: `call` does it once; `cpu_s` returns the CPU seconds used so far by whoever does the work;
    `prepare` is called before each round, and not timed."""

    call: Callable[[], object]
    cpu_s: Callable[[], float]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Measurement:
    """Milliseconds of one call. rounds_p50_ms: the rounds' medians; their spread tells how quiet the machine was.
    rounds_cpu_ms: of each round, in the same order for all contenders; cpu_ms is their median."""

    call_count: int
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rounds_p50_ms: list[float]
    rounds_cpu_ms: list[float]


def measure(
    contenders: Mapping[Name, Contender], rounds: int, calls: int, warm_up_calls: int
) -> dict[Name, Measurement]:
    """Time `rounds` rounds of `calls` calls of each contender, one call at a time, contender after contender in each
    round, so that all of them meet the same noise. The warm-up is not counted."""
    wall: dict[Name, list[list[float]]] = {name: [] for name in contenders}
    cpu: dict[Name, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender.prepare()
        for _ in range(warm_up_calls):
            contender.call()
    for _ in range(rounds):
        for name, contender in contenders.items():
            contender.prepare()
            cpu_before = contender.cpu_s()
            wall[name].append([_timed(contender.call) for _ in range(calls)])
            cpu[name].append((contender.cpu_s() - cpu_before) / calls)
    return {name: _told(wall[name], cpu[name]) for name in contenders}


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _told(wall: list[list[float]], cpu: list[float]) -> Measurement:
    all_ms = 1e3 * np.concatenate(wall)
    return Measurement(
        call_count=len(all_ms),
        p50_ms=round(float(np.percentile(all_ms, 50)), 4),
        p99_ms=round(float(np.percentile(all_ms, 99)), 4),
        cpu_ms=round(1e3 * float(np.median(cpu)), 4),
        rounds_p50_ms=[round(1e3 * float(np.median(one)), 4) for one in wall],
        rounds_cpu_ms=[round(1e3 * one, 4) for one in cpu],
    )
