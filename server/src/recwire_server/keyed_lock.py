"""Locks by name."""

import asyncio
from collections import deque
from dataclasses import dataclass


class KeyedLocks:
    """A lock for each name that somebody holds or waits for; the first to come is the first to hold it.

    Belongs to the event loop.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # for each that is held

    def __contains__(self, name: str) -> bool:
        """Return whether somebody holds the lock, or waits for it."""
        return name in self._waiting

    def held(self, name: str) -> "_Held":
        """Hold the lock for the length of an `async with` block."""
        return _Held(self, name)

    async def acquire(self, name: str) -> None:
        """Wait for the lock."""
        if name not in self._waiting:
            self._waiting[name] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[name].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn came as the caller went away
                self.release(name)
            raise

    def release(self, name: str) -> None:
        """Hand the lock to the next."""
        waiting = self._waiting[name]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[name]


@dataclass(frozen=True, slots=True)
class _Held:
    """The block in which a lock is held; by contextlib it takes 2.6 us instead of 1, and every update has two."""

    locks: KeyedLocks
    name: str

    async def __aenter__(self) -> None:
        await self.locks.acquire(self.name)

    async def __aexit__(self, *error: object) -> None:
        self.locks.release(self.name)
