"""Calls of which many are in flight."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
import numpy as np

from benchmarks.served import Served

Name = TypeVar("Name", bound=Hashable)
IN_FLIGHT = 64


@dataclass(frozen=True)
class Flight:
    """What so many calls at a time come to; medians of the rounds' figures, percentiles of all calls. cpu_ms: of the
    server. failed: calls that ended with an error, which count in nothing else."""

    calls_per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    failed: int
    rounds_calls_per_s: list[float]


@dataclass(frozen=True)
class Calls:
    """Calls to fly. method: the rpc's path. messages: makes those of a round."""

    method: str
    messages: Callable[[], Sequence[bytes]]
    in_flight: int = IN_FLIGHT


async def fly(server: Served, calls: Mapping[Name, Calls], rounds: int) -> dict[Name, Flight]:
    """Return what calls that were serialized before come to, on the raw channel, kind after kind in each round; the
    first round of each is not counted."""
    measured: dict[Name, list[_Round]] = {name: [] for name in calls}
    async with grpc.aio.insecure_channel(server.address) as channel:
        methods = {name: channel.unary_unary(one.method) for name, one in calls.items()}
        for _ in range(rounds + 1):
            for name, method in methods.items():
                one = calls[name]
                measured[name].append(await _round(method, one.messages(), one.in_flight, server))
    return {name: _told(rounds[1:]) for name, rounds in measured.items()}


@dataclass(frozen=True)
class _Round:
    wall_s: float
    cpu_s: float
    call_s: Sequence[float]
    failed: int


async def _round(
    method: Callable[[bytes], Awaitable[object]], messages: Sequence[bytes], in_flight: int, server: Served
) -> _Round:
    remaining = iter(messages)
    call_s: list[float] = []
    failed = 0

    async def caller() -> None:
        nonlocal failed
        for message in remaining:
            start_s = time.perf_counter()
            try:
                await method(message)
            except grpc.RpcError:
                failed += 1
            else:
                call_s.append(time.perf_counter() - start_s)

    cpu_s, start_s = server.threads_cpu_s(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return _Round(time.perf_counter() - start_s, server.threads_cpu_s() - cpu_s, call_s, failed)


def _told(rounds: Sequence[_Round]) -> Flight:
    call_ms = 1e3 * np.concatenate([one.call_s for one in rounds])
    calls_per_s = [round(len(one.call_s) / one.wall_s, 1) for one in rounds]
    return Flight(
        calls_per_s=round(float(np.median(calls_per_s)), 1),
        cpu_ms=round(1e3 * float(np.median([one.cpu_s / len(one.call_s) for one in rounds])), 4),
        p50_ms=round(float(np.percentile(call_ms, 50)), 3),
        p99_ms=round(float(np.percentile(call_ms, 99)), 3),
        failed=sum(one.failed for one in rounds),
        rounds_calls_per_s=calls_per_s,
    )
