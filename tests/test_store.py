"""What the store acknowledged is there, whatever happens next; nothing is there twice."""

import asyncio
import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from recwire_server.event import Event, EventType
from recwire_server.item import EmbeddedItem, Item
from recwire_server.store import DataDirectoryError, StoreWriteError
from recwire_server.store.group_commit import GroupCommitter
from recwire_server.store.sqlite import SqliteStore
from recwire_server.store.stopped import locked

DIM = 4


def event(event_id: str, item_id: str = "i") -> Event:
    return Event(event_id, item_id, None, None, EventType.VIEW, None, 1, 2, "")


def item(item_id: str) -> EmbeddedItem:
    return EmbeddedItem(Item(item_id, "title", ("text",), {}, None, None, None), np.ones(DIM, np.float32))


async def opened(data_dir: Path, **model: object) -> SqliteStore:
    store = SqliteStore(data_dir, **{"dim": DIM, "model_name": "m", "model_version": "1", **model})
    await store.start()
    return store


async def test_what_was_acknowledged_is_in_a_copy_taken_at_once(tmp_path: Path):
    """The files as they are after the acknowledgement, without closing, hold the write."""
    store = await opened(tmp_path / "a")
    await store.append_events("ada", [event("1"), event("2")])
    await store.put_items([item("i")], time_ns=1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    await store.close()
    copy = await opened(tmp_path / "b")
    assert [e.event_id for e in (await copy.user("ada")).events] == ["1", "2"]
    assert list(await copy.items(["i", "j"])) == ["i"]
    await copy.close()


async def test_an_event_is_appended_once(tmp_path: Path):
    """Only what is new comes back; revisions grow over all users, and are not given again after a user is erased."""
    store = await opened(tmp_path)
    first = await store.append_events("ada", [event("1"), event("1"), event("2")])
    again = await store.append_events("ada", [event("2"), event("3")])
    assert [[e.event_id for e in appended] for appended in (first, again)] == [["1", "2"], ["3"]]
    last = again[-1].revision
    assert await store.delete_user("ada") == 3
    (anew,) = await store.append_events("bob", [event("1")])
    assert anew.revision > last
    assert await store.user_count() == 1
    await store.close()


async def test_appends_that_share_a_commit_are_as_ones_after_each_other(tmp_path: Path):
    """Each gets back what was new when its turn came, revisions grow in that order, and users' counts are right."""
    chance = random.Random(5)
    store = await opened(tmp_path)
    known: dict[str, list[str]] = {"ada": [], "bob": [], "cleo": []}
    appends = [
        (chance.choice([*known]), [str(chance.randrange(400)) for _ in range(chance.randrange(1, 80))])
        for _ in range(150)
    ]
    writes = [store.append_events(user_id, [event(n) for n in event_ids]) for user_id, event_ids in appends]
    results = await asyncio.gather(*writes)
    for (user_id, event_ids), appended in zip(appends, results, strict=True):
        new = [n for n in dict.fromkeys(event_ids) if n not in known[user_id]]
        assert [e.event_id for e in appended] == new
        known[user_id] += new
    revisions = [e.revision for appended in results for e in appended]
    assert revisions == sorted(set(revisions))
    for user_id, event_ids in known.items():
        stored = await store.user(user_id)
        assert [e.event_id for e in stored.events] == event_ids
        assert stored.revision == stored.events[-1].revision
    await store.close()
    counts = dict(sqlite3.connect(tmp_path / "recwire.sqlite3").execute("SELECT user_id, event_count FROM users"))
    assert counts == {user_id: len(event_ids) for user_id, event_ids in known.items()}


async def test_an_append_that_cannot_be_stored_fails_alone(tmp_path: Path):
    """Those of the same commit are stored, before it and after it; of itself nothing is."""
    store = await opened(tmp_path)
    good = [store.append_events("ada", [event(str(n))]) for n in range(20)]
    bad = store.append_events("bob", [event("1"), event("\ud800")])
    outcomes = await asyncio.gather(*good[:10], bad, *good[10:], return_exceptions=True)
    assert isinstance(outcomes.pop(10), UnicodeEncodeError)
    assert [e.event_id for appended in outcomes for e in appended] == [str(n) for n in range(20)]
    assert len((await store.user("ada")).events) == 20
    assert (await store.user("bob")).events == []
    await store.close()


async def test_closing_commits_what_waits(tmp_path: Path):
    """Writes that were begun are stored, in their order."""
    store = await opened(tmp_path)
    writes = [asyncio.ensure_future(store.append_events("ada", [event(str(n))])) for n in range(500)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    store = await opened(tmp_path)
    assert [e.event_id for e in (await store.user("ada")).events] == [str(n) for n in range(500)]
    await store.close()


async def test_a_write_that_fails_fails_alone(tmp_path: Path):
    """The others of its group are stored, and it leaves nothing half-done."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)

    def bad(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (-1)")
        connection.execute("INSERT INTO no_such_table VALUES (1)")

    with connect() as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
    writer = GroupCommitter(connect)
    writer.start()
    good = [writer.write(lambda db, n=n: db.execute("INSERT INTO t VALUES (?)", (n,)).rowcount) for n in range(20)]
    outcomes = await asyncio.gather(*good[:10], writer.write(bad), *good[10:], return_exceptions=True)
    await writer.close()
    assert [outcome for outcome in outcomes if outcome != 1] == [outcomes[10]]
    assert isinstance(outcomes[10], StoreWriteError)
    with connect() as connection:
        assert [row[0] for row in connection.execute("SELECT n FROM t")] == list(range(20))


@pytest.mark.parametrize("failing", [["COMMIT"], ["COMMIT", "ROLLBACK"], ["COMMIT", "ROLLBACK", "ROLLBACK"]])
async def test_the_writer_outlives_a_failing_disk(failing, tmp_path: Path):
    """Every write that is not stored fails, even if it cannot be undone at once, and is not stored by a later one."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if sql in remaining:
                remaining.remove(sql)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *parameters)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False, factory=Connection)

    remaining: list[str] = []

    async def insert(n: int) -> None:
        await writer.write(lambda db: db.execute("INSERT INTO t VALUES (?)", (n,)))

    connect().execute("CREATE TABLE t (n INTEGER)")
    remaining += failing
    writer = GroupCommitter(connect)
    writer.start()
    failed = max(1, failing.count("ROLLBACK"))
    for n in range(failed):
        with pytest.raises(StoreWriteError, match="not stored: disk I/O error"):
            await insert(n)
    await insert(failed)
    await writer.close()
    assert connect().execute("SELECT n FROM t").fetchall() == [(failed,)]


async def test_a_directory_serves_one_at_a_time(tmp_path: Path):
    """The second is told who holds it; once the first is closed, it can be opened."""
    store = await opened(tmp_path)
    with pytest.raises(DataDirectoryError, match=r"in use by process \d+"):
        await opened(tmp_path)
    await store.close()
    await (await opened(tmp_path)).close()


async def test_a_directory_that_is_read_is_told_as_such(tmp_path: Path):
    """Readers share it, keep servers off, and are not taken for the server that has ended."""
    await (await opened(tmp_path)).close()
    with locked(tmp_path), locked(tmp_path), pytest.raises(DataDirectoryError, match=r"is being read by .* try again"):
        await opened(tmp_path)
    await (await opened(tmp_path)).close()


@pytest.mark.parametrize("model", [{"dim": 8}, {"model_version": "2"}])
async def test_a_directory_belongs_to_its_model(model, tmp_path: Path):
    """Another one is refused, with the way out."""
    await (await opened(tmp_path)).close()
    with pytest.raises(DataDirectoryError, match="--model"):
        await opened(tmp_path, **model)


async def test_a_closed_store_refuses_writes(tmp_path: Path):
    """At once, instead of waiting for a writer that has gone."""
    store = await opened(tmp_path)
    await store.close()
    with pytest.raises(StoreWriteError, match="closed"):
        await store.append_events("ada", [event("1")])


async def test_another_programs_database_is_refused(tmp_path: Path):
    """It is not written to."""
    with sqlite3.connect(tmp_path / "recwire.sqlite3") as connection:
        connection.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    with pytest.raises(DataDirectoryError, match="another program"):
        await opened(tmp_path)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    """With the directory's name, and the lock given back."""
    (tmp_path / "recwire.sqlite3").write_bytes(b"not a database" * 100)
    for _ in range(2):
        with pytest.raises(DataDirectoryError, match="cannot be opened"):
            await opened(tmp_path)
