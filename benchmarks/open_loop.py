"""An open-loop load: calls begin when their time has come, however the server fares, as those of many users do."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import grpc

REFUSED_S = 0.02

Call = Callable[[], Awaitable[object]]
"""Makes one call; raises grpc.RpcError for any outcome but OK."""


@dataclass
class Outcomes:
    """What became of the calls of a load. seconds: by status code, of each call, from when it was due."""

    duration_s: float
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, code: str, taken_s: float) -> None:
        """Add a call."""
        self.seconds.setdefault(code, []).append(taken_s)

    @property
    def counts(self) -> Counter[str]:
        """Calls by status code."""
        return Counter({code: len(taken) for code, taken in self.seconds.items()})


def due_times(rate: float, duration_s: float, seed: int) -> Iterator[float]:
    """Yield the seconds at which calls of a Poisson process are due."""
    chance, due_s = random.Random(seed), 0.0
    while (due_s := due_s + chance.expovariate(rate)) < duration_s:
        yield due_s


async def offer(call: Call, rate: float, warm_up_s: float, duration_s: float, seed: int) -> Outcomes:
    """Make `rate` calls a second; return what became of those that were due after the warm-up."""
    outcomes = Outcomes(duration_s)
    begin_s = time.perf_counter()

    async def one(due_s: float) -> None:
        try:
            await call()
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        if due_s >= warm_up_s:
            outcomes.add(code, time.perf_counter() - begin_s - due_s)

    async with asyncio.TaskGroup() as calls:
        for due_s in due_times(rate, warm_up_s + duration_s, seed):
            early_s = begin_s + due_s - time.perf_counter()
            await asyncio.sleep(max(0.0, early_s))
            calls.create_task(one(due_s))
    return outcomes


async def saturate(call: Call, in_flight: int, warm_up_s: float, duration_s: float) -> float:
    """Return how many calls a second are served with so many in flight all the time."""
    begin_s = time.perf_counter()
    served = 0

    async def caller() -> None:
        nonlocal served
        while (now_s := time.perf_counter() - begin_s) < warm_up_s + duration_s:
            try:
                await call()
            except grpc.RpcError:  # refused: it asks again a little later
                await asyncio.sleep(REFUSED_S)
            else:
                served += now_s >= warm_up_s

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return served / duration_s
