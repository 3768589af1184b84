"""What waits to be written: it is bounded, and dropped where nobody waits for it any more."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from recwire_server.store import StoreExpiredError, StoreOverloadedError, Waiter
from recwire_server.store.group_commit import MAX_WAITING, GroupCommitter

COMMIT_S = 0.05


def insert(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Store numbers."""
    connection.executemany("INSERT INTO written VALUES (?)", [(number,) for number in numbers])
    return [*numbers]


class GatedDisk:
    """A committer of a table of numbers, whose groups wait while the gate is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.gate = threading.Event()
        self.reached = asyncio.Event()
        self.gate.set()
        self.committer = GroupCommitter(self._connect, self._wait)

    def written(self) -> list[int]:
        """Return the numbers that are stored."""
        return [number for (number,) in self._connect().execute("SELECT number FROM written ORDER BY number")]

    def write(self, number: int, waiter: Waiter | None = None) -> asyncio.Task[int]:
        """Begin to store a number."""
        return asyncio.create_task(self.committer.write_alike(insert, number, waiter or Waiter()))

    async def closed_on(self, number: int) -> asyncio.Task[int]:
        """Close the gate on a write; return it once it waits there."""
        self.gate.clear()
        self.reached.clear()
        waiting = self.write(number)
        await self.reached.wait()
        return waiting

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("CREATE TABLE IF NOT EXISTS written (number)")
        return connection

    def _wait(self) -> None:
        if not self.gate.is_set():
            self._loop.call_soon_threadsafe(self.reached.set)
        assert self.gate.wait(20)

    def start(self) -> None:
        """Start the writer."""
        self._loop = asyncio.get_running_loop()
        self.committer.start()


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[GatedDisk]:
    disk = GatedDisk(tmp_path / "db")
    disk.start()
    yield disk
    disk.gate.set()
    await disk.committer.close()


async def test_what_nobody_waits_for_is_not_written(disk: GatedDisk):
    """A write whose deadline passes before its turn, or whose caller leaves, is dropped; those around it are stored."""
    running = await disk.closed_on(1)
    late, left = Waiter(time.monotonic() + 0.01), Waiter()
    writes = [disk.write(2, late), disk.write(3, left), disk.write(4)]
    await asyncio.sleep(0.02)
    left.is_gone = True
    disk.gate.set()
    outcomes = await asyncio.gather(running, *writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, StoreExpiredError, StoreExpiredError, int]
    assert disk.written() == [1, 4]


async def test_a_write_that_has_begun_is_finished(disk: GatedDisk):
    """Its caller's leaving, or its deadline, changes nothing once the writer has it."""
    waiter = Waiter(time.monotonic() + 0.01)
    disk.gate.clear()
    begun = disk.write(1, waiter)
    await disk.reached.wait()
    await asyncio.sleep(0.02)
    waiter.is_gone = True
    disk.gate.set()
    assert await begun == 1
    assert disk.written() == [1]


async def test_a_deadline_that_the_disk_cannot_meet_is_refused_at_once(disk: GatedDisk):
    """By what commits took so far, while one is under way: with a time to come back after, and nothing is stored."""
    slow = await disk.closed_on(1)
    await asyncio.sleep(COMMIT_S)
    disk.gate.set()
    await slow
    running = await disk.closed_on(2)
    with pytest.raises(StoreOverloadedError, match="the disk takes about") as raised:
        await disk.write(3, Waiter(time.monotonic() + COMMIT_S / 2))
    disk.gate.set()
    await running
    assert raised.value.retry_delay_s > 0
    assert await disk.write(4, Waiter(time.monotonic() + COMMIT_S / 2)) == 4  # an idle writer refuses nothing
    assert disk.written() == [1, 2, 4]


async def test_what_waits_is_bounded(disk: GatedDisk):
    """The first write past the bound is refused, those before it are stored."""
    running = await disk.closed_on(0)
    writes = [disk.write(number) for number in range(1, MAX_WAITING + 1)]
    await asyncio.sleep(0)
    with pytest.raises(StoreOverloadedError, match=f"the limit is {MAX_WAITING:,}"):
        await disk.write(-1)
    disk.gate.set()
    await asyncio.gather(running, *writes)
    assert disk.written() == [*range(MAX_WAITING + 1)]
