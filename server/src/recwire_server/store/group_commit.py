"""One writer that commits in groups."""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from recwire_server.queue_limit import Pace, retry_delay_s
from recwire_server.span import RecordSpan
from recwire_server.store import StoreError, StoreExpiredError, StoreOverloadedError, StoreWriteError, Waiter
from recwire_server.store.fault import write_error

logger = logging.getLogger(__name__)

A = TypeVar("A")
T = TypeVar("T")

# A commit costs an fsync; past some dozens of writes in one, the fsync no longer counts (13,000 events/s at 64), and a
# larger group only makes the first wait for the last.
MAX_GROUP_SIZE = 64
# A group is filled for so many turns of the event loop after its first write, and no longer than this: calls on their
# way join it, and a write that is alone waits for some 20 us. With 64 calls in flight on one core groups of 4 become
# ones of 8, and an update takes 15 % less CPU.
FILL_TURNS = 8
MAX_FILL_S = 0.005
# Writes that may wait: 64 groups, a tenth of a second on a sound disk.
MAX_WAITING = 64 * MAX_GROUP_SIZE


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """A commit of a group of writes. is_stored: False: none was, for the disk or the database."""

    write_count: int
    duration_s: float
    is_stored: bool


@dataclass(frozen=True)
class _Write:
    apply: Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
    argument: Any
    done: asyncio.Future[Any]
    waiter: Waiter


class GroupCommitter:
    """Runs writes in order on one thread; those that wait while a commit runs share the next one.

    Owns its connection. A write returns once COMMIT has fsynced the log, so it survives a crash of the process and of
    the machine. A write that fails is undone alone; it does not fail the others of its group. What waits is bounded,
    and refused where its deadline comes before its turn.

    check: raises StoreError while nothing can be committed. observe: told of each commit, on the event loop.
    record_span: told how long each write took, the wait for its group included.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        check: Callable[[], None] = lambda: None,
        *,
        observe: Callable[[GroupCommit], None] = lambda commit: None,
        record_span: RecordSpan | None = None,
    ) -> None:
        self._connect = connect
        self._check = check
        self._observe = observe
        self._record_span = record_span
        # Of the event loop: what is for the next group, and whether one is being filled or committed.
        self._waiting: list[_Write] = []
        self._is_busy = False
        self._pace = Pace()  # of a group
        self._groups: queue.SimpleQueue[list[_Write] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the writer; called on the event loop that will call `write`."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=[self._connect()], name="store-writer")
        self._thread.start()

    async def close(self) -> None:
        """Commit what waits, then stop."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._groups.put(self._waiting)
            self._groups.put(None)
            self._waiting = []
            await asyncio.to_thread(thread.join)

    @property
    def waiting_count(self) -> int:
        """How many writes wait for the next groups."""
        return len(self._waiting)

    async def write(self, apply: Callable[[sqlite3.Connection], T]) -> T:
        """Run `apply` in a transaction on the writer's thread; return what it returned, once it is durable.

        Raises StoreWriteError if it was not stored, StoreOverloadedError if too much waits. A write whose caller is
        cancelled may still be stored.
        """
        return await self.write_alike(lambda connection, _: [apply(connection)], None, Waiter())

    async def write_alike(
        self, apply: Callable[[sqlite3.Connection, Sequence[A]], Sequence[T]], argument: A, waiter: Waiter
    ) -> T:
        """The same for a write of which there are many: one call of `apply` has the arguments of those that follow each
        other in a group, and returns their results in order. Raises StoreExpiredError if nobody waits for it any more
        when its turn comes."""
        if self._thread is None or self._loop is None:
            raise StoreWriteError("the write was not stored: the store is closed")
        self._admit(waiter)
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Write(apply, argument, done, waiter))
        self._fill_group()
        if self._record_span is None:
            return await done
        begin_s = time.monotonic()
        try:
            return await done
        finally:
            self._record_span("store.commit", begin_s, time.monotonic(), {})

    def _admit(self, waiter: Waiter) -> None:
        """Raise StoreOverloadedError if one more write is too much, or comes too late. Nothing is refused while the
        writer is idle: an estimate that is wrong would never be mended."""
        now_s, waiting = time.monotonic(), len(self._waiting)
        commit_s = self._pace.estimate_s
        wait_s = (waiting // MAX_GROUP_SIZE + self._is_busy) * commit_s
        if waiting >= MAX_WAITING:
            description = f"{waiting:,} writes wait for the disk; the limit is {MAX_WAITING:,}"
            raise StoreOverloadedError(description, retry_delay_s(wait_s))
        if waiter.is_past(now_s):
            raise _expired()
        if self._is_busy and now_s + wait_s + commit_s > waiter.deadline_s:
            left_s = waiter.deadline_s - now_s
            description = f"the disk takes about {wait_s + commit_s:.3f} s; the deadline is in {left_s:.3f} s"
            raise StoreOverloadedError(description, retry_delay_s(wait_s))

    def _fill_group(self) -> None:
        """Begin the next group, unless one is being filled or committed."""
        if not self._is_busy:
            self._is_busy = True
            assert self._loop is not None
            self._hand_over(FILL_TURNS, self._loop.time() + MAX_FILL_S)

    def _hand_over(self, turns: int, until_s: float) -> None:
        """Give the writer what waits, after so many turns of the event loop."""
        assert self._loop is not None
        if turns and len(self._waiting) < MAX_GROUP_SIZE and self._loop.time() < until_s:
            self._loop.call_soon(self._hand_over, turns - 1, until_s)
        else:
            self._groups.put(self._next_group())

    def _next_group(self) -> list[_Write]:
        """Return what is written next, and drop what nobody waits for. It may be empty."""
        group: list[_Write] = []
        now_s, taken = time.monotonic(), 0
        for write in self._waiting:
            if len(group) == MAX_GROUP_SIZE:
                break
            taken += 1
            if not write.waiter.is_past(now_s):
                group.append(write)
            elif not write.done.cancelled():
                write.done.set_exception(_expired())
        del self._waiting[:taken]
        return group

    def _run(self, connection: sqlite3.Connection) -> None:
        assert self._loop is not None
        while (group := self._groups.get()) is not None:
            begin_s = time.monotonic()
            outcomes, is_stored = self._commit(connection, group) if group else ([], True)
            commit = GroupCommit(len(group), time.monotonic() - begin_s, is_stored)
            self._loop.call_soon_threadsafe(self._settle, group, outcomes, commit)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, group: list[_Write]) -> tuple[list[Any], bool]:
        """Return each write's result, or the exception that undid it; and whether the group was committed."""
        try:
            _roll_back(connection)  # what an earlier group could not
            self._check()
            connection.execute("BEGIN IMMEDIATE")
            runs = [list(run) for _, run in groupby(group, key=attrgetter("apply"))]
            outcomes = [outcome for run in runs for outcome in _apply(connection, run)]
            connection.execute("COMMIT")
        except (sqlite3.Error, StoreError) as error:
            logger.error("a group of %d writes was not stored: %s", len(group), error)
            with suppress(sqlite3.Error):  # the writer goes on: the next group tries again before it begins
                _roll_back(connection)
            return [write_error(error) if isinstance(error, sqlite3.Error) else error] * len(group), False
        return outcomes, True

    def _settle(self, group: list[_Write], outcomes: list[Any], commit: GroupCommit) -> None:
        if group:
            self._pace.took(commit.duration_s)
            self._observe(commit)
        for write, outcome in zip(group, outcomes, strict=True):
            if write.done.cancelled():
                continue
            if isinstance(outcome, Exception):
                write.done.set_exception(outcome)
            else:
                write.done.set_result(outcome)
        self._is_busy = False
        if self._waiting:
            self._fill_group()


def _expired() -> StoreExpiredError:
    return StoreExpiredError("the deadline passed before the write began: nothing was stored")


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _apply(connection: sqlite3.Connection, run: Sequence[_Write]) -> Sequence[Any]:
    """Return the result of each write, or the exception that undid it; a run that fails is applied write by write."""
    connection.execute("SAVEPOINT run")
    try:
        outcomes = run[0].apply(connection, [write.argument for write in run])
    except Exception as error:  # a bug in one write must not end the writer
        if isinstance(error, sqlite3.Error) and not connection.in_transaction:  # a full disk ends all of it
            raise
        connection.execute("ROLLBACK TO run")
        told = write_error(error) if isinstance(error, sqlite3.Error) else error
        outcomes = [told] if len(run) == 1 else [outcome for write in run for outcome in _apply(connection, [write])]
    connection.execute("RELEASE run")
    return outcomes
