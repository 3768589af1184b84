"""Whether the server takes calls, and whether it still has some."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import grpc


class Phase(Enum):
    """Where a server is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Lifecycle:
    """The server's phase, and its calls under way. Belongs to the event loop."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._left = {phase: asyncio.Event() for phase in Phase}
        self._call_count = 0
        self._told_of_drain: list[Callable[[], None]] = []
        self._no_calls = asyncio.Event()
        self._no_calls.set()

    @property
    def phase(self) -> Phase:
        """Where the server is now; set it in the order of the phases."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._left[self._phase].set()
            self._phase = phase
            if phase is Phase.DRAINING:
                for tell in self._told_of_drain:
                    tell()

    async def left(self, phase: Phase) -> None:
        """Wait until the server has left a phase."""
        await self._left[phase].wait()

    @contextmanager
    def told_of_drain(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` when the server begins to drain, within the block."""
        self._told_of_drain.append(tell)
        try:
            yield
        finally:
            self._told_of_drain.remove(tell)

    def begin_call(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Count a call as under way until its answer has been sent."""
        self._call_count += 1
        self._no_calls.clear()
        context.add_done_callback(self._end_call)  # type: ignore[arg-type]  # any function does, says gRPC

    async def no_calls(self) -> None:
        """Wait until no call is under way."""
        await self._no_calls.wait()

    def _end_call(self, context: object) -> None:
        self._call_count -= 1
        if not self._call_count:
            self._no_calls.set()
