"""One writer that commits in groups."""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from recwire_server.store import StoreError, StoreWriteError
from recwire_server.store.fault import write_error

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A commit costs an fsync; past some dozens of writes in one, the fsync no longer counts (13,000 events/s at 64), and a
# larger group only makes the first wait for the last.
MAX_GROUP_SIZE = 64


@dataclass(frozen=True)
class _Write:
    apply: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class GroupCommitter:
    """Runs writes in order on one thread; those that wait while a commit runs share the next one.

    Owns its connection. A write returns once COMMIT has fsynced the log, so it survives a crash of the process and of
    the machine. A write that fails is undone alone; it does not fail the others of its group.

    check: raises StoreError while nothing can be committed.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], check: Callable[[], None] = lambda: None) -> None:
        self._connect = connect
        self._check = check
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
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
            self._writes.put(None)
            await asyncio.to_thread(thread.join)

    async def write(self, apply: Callable[[sqlite3.Connection], T]) -> T:
        """Run `apply` in a transaction on the writer's thread; return what it returned, once it is durable.

        Raises StoreWriteError if it was not stored. A write whose caller is cancelled may still be stored.
        """
        if self._thread is None or self._loop is None:
            raise StoreWriteError("the write was not stored: the store is closed")
        done: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(_Write(apply, done))
        return await done

    def _run(self, connection: sqlite3.Connection) -> None:
        while group := self._next_group():
            outcomes = self._commit(connection, group)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(_settle, group, outcomes)
        connection.close()

    def _next_group(self) -> list[_Write]:
        """Wait for a write and take what else waits; empty: the end."""
        first = self._writes.get()
        group = []
        while first is not None:
            group.append(first)
            if len(group) == MAX_GROUP_SIZE or self._writes.empty():
                return group
            first = self._writes.get()
        if group:  # what came before the end is committed first
            self._writes.put(None)
        return group

    def _commit(self, connection: sqlite3.Connection, group: list[_Write]) -> list[Any]:
        """Return each write's result, or the exception that undid it."""
        try:
            _roll_back(connection)  # what an earlier group could not
            self._check()
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_apply_alone(connection, write) for write in group]
            connection.execute("COMMIT")
        except (sqlite3.Error, StoreError) as error:
            logger.error("a group of %d writes was not stored: %s", len(group), error)
            with suppress(sqlite3.Error):  # the writer goes on: the next group tries again before it begins
                _roll_back(connection)
            return [write_error(error) if isinstance(error, sqlite3.Error) else error] * len(group)
        return outcomes


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _apply_alone(connection: sqlite3.Connection, write: _Write) -> Any:
    connection.execute("SAVEPOINT write")
    try:
        result = write.apply(connection)
    except sqlite3.Error as error:
        if not connection.in_transaction:  # a full disk ends the whole transaction
            raise
        connection.execute("ROLLBACK TO write")
        result = write_error(error)
    except Exception as error:  # a bug in one write must not end the writer
        connection.execute("ROLLBACK TO write")
        result = error
    connection.execute("RELEASE write")
    return result


def _settle(group: list[_Write], outcomes: list[Any]) -> None:
    for write, outcome in zip(group, outcomes, strict=True):
        if write.done.cancelled():
            continue
        if isinstance(outcome, Exception):
            write.done.set_exception(outcome)
        else:
            write.done.set_result(outcome)
