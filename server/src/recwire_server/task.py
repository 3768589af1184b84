"""Tasks that outlive the call that began them, and do not outlive the server."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class TaskKeeper:
    """Keeps tasks until they end. Belongs to the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work on its own."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that goes on to its end even if the caller is cancelled: a commit and its effect in memory
        must not be torn apart."""
        return await asyncio.shield(self.spawn(work))

    async def drain(self) -> None:
        """Wait for all that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
