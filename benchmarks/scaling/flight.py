"""Many calls at a time: what so many callers get who each make one call after the other."""

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.served import Served
from recwire.v1.recommender_service_pb2 import RecommendRequest

RECOMMEND = "/recwire.v1.RecommenderService/Recommend"
MIN_CALLS_A_CALLER = 5  # in a round: with fewer it would be mostly its begin and end, when not all are in flight


@dataclass(frozen=True)
class Flight:
    """Medians of the rounds' calls a second and CPU milliseconds a call of the server; percentiles of all calls."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    failed: int
    rounds_calls_per_s: list[float]


@dataclass(frozen=True)
class _Round:
    wall_s: float
    cpu_s: float
    call_s: Sequence[float]
    failed: int


async def fly(
    server: Served, user_ids: Sequence[str], in_flight: Iterable[int], rounds: int, calls: int
) -> dict[int, Flight]:
    """Return what comes of calls of Recommend, by how many are in flight; in turn, the first round does not count."""
    messages = itertools.cycle([RecommendRequest(user_id=user_id).SerializeToString() for user_id in user_ids])
    flown: dict[int, list[_Round]] = {count: [] for count in in_flight}
    async with grpc.aio.insecure_channel(server.address) as channel:
        method = channel.unary_unary(RECOMMEND)
        for _ in range(rounds + 1):
            for count, kept in flown.items():
                kept.append(
                    await _round(
                        method, itertools.islice(messages, max(calls, MIN_CALLS_A_CALLER * count)), count, server
                    )
                )
    return {count: _told(kept[1:]) for count, kept in flown.items()}


async def _round(
    method: grpc.aio.UnaryUnaryMultiCallable, messages: Iterator[bytes], count: int, server: Served
) -> _Round:
    call_s: list[float] = []
    failed = 0

    async def caller() -> None:
        nonlocal failed
        for message in messages:
            begin_s = time.perf_counter()
            try:
                await method(message)
            except grpc.RpcError:
                failed += 1
            else:
                call_s.append(time.perf_counter() - begin_s)

    cpu_s, begin_s = server.threads_cpu_s(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(count)))
    return _Round(time.perf_counter() - begin_s, server.threads_cpu_s() - cpu_s, call_s, failed)


def _told(rounds: Sequence[_Round]) -> Flight:
    call_ms = 1e3 * np.concatenate([one.call_s for one in rounds])
    calls_per_s = [round(len(one.call_s) / one.wall_s, 1) for one in rounds]
    return Flight(
        calls_per_s=round(float(np.median(calls_per_s)), 1),
        p50_ms=round(float(np.percentile(call_ms, 50)), 4),
        p99_ms=round(float(np.percentile(call_ms, 99)), 4),
        cpu_ms=round(1e3 * float(np.median([one.cpu_s / len(one.call_s) for one in rounds])), 4),
        failed=sum(one.failed for one in rounds),
        rounds_calls_per_s=calls_per_s,
    )
