"""Whether the server takes calls, and whether it still has some."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum


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

    def begin_call(self) -> None:
        """Count the call of the current task as under way until its answer has been sent.

        Not by gRPC's own ServicerContext.add_done_callback: it makes a cycle of all that a call has, which stays,
        counted among the connection's streams, until the garbage collector comes by.
        """
        self._call_count += 1
        self._no_calls.clear()
        task = asyncio.current_task()
        assert task is not None, "gRPC runs each call in a task"
        task.add_done_callback(self._end_call)

    async def no_calls(self) -> None:
        """Wait until no call is under way."""
        await self._no_calls.wait()

    def _end_call(self, call: object) -> None:
        self._call_count -= 1
        if not self._call_count:
            self._no_calls.set()
