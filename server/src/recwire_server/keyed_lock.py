"""Locks by name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class KeyedLocks:
    """A lock for each name that somebody holds or waits for; the first to come is the first to hold it.

    Belongs to the event loop.
    """

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    def __contains__(self, name: str) -> bool:
        """Return whether somebody holds the lock, or waits for it."""
        return name in self._locks

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Hold the lock for the length of the block."""
        lock = self._locks.setdefault(name, _Lock())
        lock.user_count += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.user_count -= 1
            if not lock.user_count:
                del self._locks[name]


class _Lock:
    """A lock, and how many hold it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.user_count = 0
