"""The embedded store: SQLite in a data directory."""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from recwire_server.disk import make_directory
from recwire_server.event import Event, EventType
from recwire_server.item import EmbeddedItem
from recwire_server.span import RecordSpan
from recwire_server.store import DataDirectoryError, Forgotten, ItemVector, LikedItems, StoredSpace, StoredUser, Waiter
from recwire_server.store.database import StoredModel, connect, open_database, refuse_backup
from recwire_server.store.directory import DirectoryLock, FilesInPlace
from recwire_server.store.event_log import Append, append
from recwire_server.store.fault import read_error, told
from recwire_server.store.group_commit import GroupCommit, GroupCommitter
from recwire_server.store.row import (
    Row,
    attributes_from_json,
    event_from_row,
    item_from_row,
    row_from_item,
    vector_from_blob,
    vector_to_blob,
)
from recwire_server.vector import Vector

T = TypeVar("T")

EVENT_COLUMNS = (
    "revision, event_id, item_id, text, vector, type, weight, event_time_ns, record_time_ns, recommendation_id"
)
ITEM_COLUMNS = (
    "item_id, revision, title, texts, attributes, publish_time_ns, expire_time_ns, from_client, vector, text_hash"
)
# Events of all users are read so many at a time: some hundredths of a second, between which others are read.
EVENTS_A_PIECE = 50_000


class SqliteStore:
    """A `Store` in `data_dir/recwire.sqlite3`: write-ahead log, every commit fsynced, one writer.

    Owns the directory (a lock), the writer's thread and one reader's thread. A directory belongs to one model: its
    vectors mean nothing to another. observe, record_span: see GroupCommitter.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        dim: int,
        model_name: str,
        model_version: str,
        observe: Callable[[GroupCommit], None] = lambda commit: None,
        record_span: RecordSpan | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._model = StoredModel(model_name, model_version, dim)
        self._lock = DirectoryLock(data_dir)
        self._writer = GroupCommitter(self._connect_writer, self._check_place, observe=observe, record_span=record_span)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._reading: sqlite3.Connection | None = None
        self._files: FilesInPlace | None = None

    async def start(self, user_id_key: str | None = None) -> None:
        """Open the directory, making it if needed; raises DataDirectoryError if it cannot serve.

        user_id_key: the fingerprint of the key of users' pseudonyms, see open_database.
        """
        try:
            await asyncio.to_thread(self._open, user_id_key)
            self._writer.start()
        except BaseException as error:
            await self.close()
            if not isinstance(error, OSError | sqlite3.Error):
                raise
            why = told(error) if isinstance(error, sqlite3.Error) else str(error)
            raise DataDirectoryError(f"data directory {self._data_dir} cannot be opened: {why}") from error

    async def close(self) -> None:
        """Commit what waits, then let go of the directory."""
        await self._writer.close()
        await asyncio.to_thread(self._reader.shutdown)
        if self._reading is not None:
            self._reading.close()
        self._lock.release()

    @property
    def waiting_count(self) -> int:
        """How many writes wait for the next groups. May be read on any thread."""
        return self._writer.waiting_count

    async def append_events(self, user_id: str, events: Sequence[Event], waiter: Waiter | None = None) -> list[Event]:
        return await self._writer.write_alike(append, Append(user_id, events), waiter or Waiter())

    async def user(self, user_id: str) -> StoredUser:
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE user_id = ? ORDER BY event_time_ns, revision"

        def read(connection: sqlite3.Connection) -> StoredUser:
            row = connection.execute("SELECT revision FROM users WHERE user_id = ?", (user_id,)).fetchone()
            events = [event_from_row(row) for row in connection.execute(sql, (user_id,))]
            return StoredUser(events, row[0] if row else 0)

        return await self._read(read)

    async def sample_histories(self, count: int, event_count: int) -> list[list[Event]]:
        draw = "SELECT user_id FROM events WHERE revision >= ? ORDER BY revision LIMIT 1"
        newest = (
            f"SELECT {EVENT_COLUMNS} FROM events WHERE user_id = ? ORDER BY event_time_ns DESC, revision DESC LIMIT ?"
        )

        def read(connection: sqlite3.Connection) -> list[list[Event]]:
            last = connection.execute("SELECT MAX(revision) FROM events").fetchone()[0]
            if last is None:
                return []
            chance = random.Random(last)
            drawn = [connection.execute(draw, (chance.randint(1, last),)).fetchone()[0] for _ in range(count)]
            found = [connection.execute(newest, (user_id, event_count)).fetchall() for user_id in dict.fromkeys(drawn)]
            return [[event_from_row(row) for row in reversed(rows)] for rows in found]

        return await self._read(read)

    async def newest_events(self, user_id: str, before_revision: int, count: int) -> list[Event]:
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE user_id = ? AND revision < ? ORDER BY revision DESC LIMIT ?"
        rows = (user_id, before_revision, count)
        return await self._read(lambda db: [event_from_row(row) for row in db.execute(sql, rows)])

    async def forget_events(self, user_id: str, event_ids: Sequence[str]) -> Forgotten:
        marks = ", ".join("?" * len(event_ids))
        delete = f"DELETE FROM events WHERE user_id = ? AND event_id IN ({marks}) RETURNING {EVENT_COLUMNS}"

        def forget(connection: sqlite3.Connection) -> Forgotten:
            gone = [event_from_row(row) for row in connection.execute(delete, (user_id, *event_ids)).fetchall()]
            if gone:
                connection.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'events'")
                connection.execute(
                    "UPDATE users SET event_count = event_count - ?,"
                    " revision = (SELECT seq FROM sqlite_sequence WHERE name = 'events') WHERE user_id = ?",
                    (len(gone), user_id),
                )
            row = connection.execute("SELECT revision FROM users WHERE user_id = ?", (user_id,)).fetchone()
            connection.execute("DELETE FROM users WHERE user_id = ? AND event_count = 0", (user_id,))
            return Forgotten(gone, row[0] if row else 0)

        return await self._writer.write(forget)

    async def delete_user(self, user_id: str) -> int:
        def delete(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
            return connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount

        return await self._writer.write(delete)

    async def user_count(self) -> int:
        return await self._read_number("SELECT COUNT(*) FROM users")

    async def last_event_revision(self) -> int:
        return await self._read_number("SELECT seq FROM sqlite_sequence WHERE name = 'events'")

    async def user_ids(self, after_user_id: str, count: int) -> list[str]:
        sql = "SELECT user_id FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?"
        return await self._read(lambda db: [row[0] for row in db.execute(sql, (after_user_id, count))])

    async def liked_items(self, types: Collection[EventType]) -> AsyncIterator[LikedItems]:
        # As JSON: a row at a time takes Python three times as long as all the rest.
        marks = ", ".join("?" * len(types))
        sql = (
            "SELECT json_group_array(item_id), json_group_array(time_ns), MAX(revision) FROM"
            " (SELECT item_id, MIN(event_time_ns, record_time_ns) AS time_ns, revision FROM events"
            f" WHERE revision > ? AND item_id IS NOT NULL AND (weight > 0 OR weight IS NULL AND type IN ({marks}))"
            " ORDER BY revision LIMIT ?)"
        )
        revision: int | None = 0
        while True:
            row = await self._read_row(sql, (revision, *map(int, types), EVENTS_A_PIECE))
            assert row is not None, "an aggregate has a row"
            item_ids, times_ns, revision = row
            if revision is None:
                return
            yield LikedItems(json.loads(item_ids), np.array(json.loads(times_ns), np.int64))

    async def put_items(self, items: Sequence[EmbeddedItem], time_ns: int) -> int:
        def put(connection: sqlite3.Connection) -> int:
            revision = _next_catalog_revision(connection)
            connection.executemany(
                "INSERT OR REPLACE INTO items (item_id, revision, deleted, title, texts, attributes, publish_time_ns,"
                " expire_time_ns, from_client, vector, write_time_ns, text_hash)"
                " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [row_from_item(item, revision, time_ns) for item in items],
            )
            return revision

        return await self._writer.write(put)

    async def delete_items(self, item_ids: Sequence[str]) -> tuple[int, list[str]]:
        def delete(connection: sqlite3.Connection) -> tuple[int, list[str]]:
            revision = _next_catalog_revision(connection)
            marks = ", ".join("?" * len(item_ids))
            deleted = connection.execute(
                "UPDATE items SET deleted = 1, revision = ?, title = '', texts = '[]', attributes = '{}',"
                f" text_hash = NULL WHERE NOT deleted AND item_id IN ({marks}) RETURNING item_id",
                (revision, *item_ids),
            )
            return revision, [row[0] for row in deleted.fetchall()]

        return await self._writer.write(delete)

    async def items(self, item_ids: Sequence[str]) -> Mapping[str, EmbeddedItem]:
        marks = ", ".join("?" * len(item_ids))
        sql = f"SELECT {ITEM_COLUMNS} FROM items WHERE NOT deleted AND item_id IN ({marks})"
        return await self._read(lambda db: {row[0]: item_from_row(row) for row in db.execute(sql, item_ids)})

    async def items_with_text(self, text_hashes: Collection[bytes]) -> Mapping[bytes, str]:
        marks = ", ".join("?" * len(text_hashes))
        sql = (
            f"SELECT text_hash, MIN(item_id) FROM items WHERE NOT deleted AND text_hash IN ({marks}) GROUP BY text_hash"
        )
        return await self._read(lambda db: dict(db.execute(sql, tuple(text_hashes)).fetchall()))

    async def list_items(self, after_item_id: str, count: int) -> list[EmbeddedItem]:
        sql = f"SELECT {ITEM_COLUMNS} FROM items WHERE NOT deleted AND item_id > ? ORDER BY item_id LIMIT ?"
        return await self._read(lambda db: [item_from_row(row) for row in db.execute(sql, (after_item_id, count))])

    async def catalog_revision(self) -> int:
        return await self._read_number("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'catalog_revision'")

    def item_vectors(self, after_revision: int = 0) -> Iterator[ItemVector]:
        connection = self._connect()  # one of its own: it may be read for long
        try:
            for (
                item_id,
                vector,
                revision,
                deleted,
                publish_time_ns,
                expire_time_ns,
                write_time_ns,
                attributes,
            ) in connection.execute(
                "SELECT item_id, CASE WHEN revision > ? THEN vector END, revision, deleted, publish_time_ns,"
                " expire_time_ns, write_time_ns, attributes FROM items ORDER BY revision, item_id",
                (after_revision,),
            ):
                yield ItemVector(
                    item_id,
                    None if vector is None else vector_from_blob(vector),
                    revision,
                    bool(deleted),
                    publish_time_ns,
                    expire_time_ns,
                    write_time_ns,
                    attributes_from_json(attributes),
                )
        except (sqlite3.Error, ValueError) as error:
            raise read_error(error) from error
        finally:
            connection.close()

    async def space(self) -> StoredSpace | None:
        def read(connection: sqlite3.Connection) -> StoredSpace | None:
            row = connection.execute(
                "SELECT generation, mean, mean_item_count FROM generations ORDER BY generation DESC LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            mean: Vector | None = None if row[1] is None else vector_from_blob(row[1])
            return StoredSpace(row[0], mean, row[2])

        return await self._read(read)

    async def put_space(self, space: StoredSpace) -> None:
        mean = None if space.mean is None else vector_to_blob(np.asarray(space.mean))
        row = (space.generation, mean, space.mean_item_count)
        await self._writer.write(lambda db: db.execute("INSERT INTO generations VALUES (?, ?, ?)", row).rowcount)

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        assert self._reading is not None, "start() comes first"
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, read, self._reading)
        except (sqlite3.Error, ValueError) as error:
            raise read_error(error) from error

    async def _read_row(self, sql: str, values: Row = ()) -> Row | None:
        return await self._read(lambda db: db.execute(sql, values).fetchone())

    async def _read_number(self, sql: str) -> int:
        row = await self._read_row(sql)
        return int(row[0]) if row else 0

    def _open(self, user_id_key: str | None) -> None:
        make_directory(self._data_dir)
        refuse_backup(self._data_dir)
        self._lock.acquire()
        self._reading = open_database(self._data_dir, self._model, user_id_key)

    def _connect(self) -> sqlite3.Connection:
        return connect(self._data_dir)

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect()
        self._files = FilesInPlace(self._data_dir)
        return connection

    def _check_place(self) -> None:
        assert self._files is not None, "the writer is connected first"
        self._files.check()


def _next_catalog_revision(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'catalog_revision'"
        " RETURNING CAST(value AS INTEGER)"
    ).fetchone()
    return int(row[0])
