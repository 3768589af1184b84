"""Makes calls: open, when they are due, or closed, so many at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from recwire_server.load.outcome import Outcomes
from recwire_server.load.schedule import ClosedLoad, OpenLoad
from recwire_server.load.timer import Timer
from recwire_server.load.workload import Request

REFUSED_S = 0.02  # until one that is in flight all the time asks again: at once, it would only be refused faster

Send = Callable[[Request], Any]
"""Sends a request; what it returns is awaited, and raises grpc.RpcError for any outcome but OK."""


async def offer(
    send: Send, load: OpenLoad, due_s: Sequence[float], requests: Sequence[Request], begin_s: float
) -> Outcomes:
    """Send each request when it is due; return what became of them. begin_s: of time.perf_counter()."""
    outcomes = Outcomes(load.duration_s)

    async def call(after_s: float, request: Request) -> None:
        lag_s = time.perf_counter() - begin_s - after_s
        code = await _code(send, request)
        if after_s >= load.warm_up_s:
            outcomes.add(code, time.perf_counter() - begin_s - after_s, load.timeout_s)
            outcomes.lag.add(lag_s)

    with Timer() as timer:
        async with asyncio.TaskGroup() as calls:
            for after_s, request in zip(due_s, requests, strict=True):
                await timer.wait_until(begin_s + after_s)
                calls.create_task(call(after_s, request))
    return outcomes


async def saturate(
    send: Send, load: ClosedLoad, in_flight: int, requests: Iterator[Request], begin_s: float
) -> Outcomes:
    """Have `in_flight` of the load's calls in flight; return what became of them. begin_s: of time.perf_counter()."""
    outcomes = Outcomes(load.duration_s)
    counted_s = begin_s + load.warm_up_s
    end_s = counted_s + load.duration_s

    async def caller() -> None:
        while (sent_s := time.perf_counter()) < end_s:
            code = await _code(send, next(requests))
            if sent_s >= counted_s:
                outcomes.add(code, time.perf_counter() - sent_s, load.timeout_s)
            if code != "OK":
                await asyncio.sleep(REFUSED_S)

    with Timer() as timer:
        await timer.wait_until(begin_s)
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return outcomes


async def _code(send: Send, request: Request) -> str:
    try:
        await send(request)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"
