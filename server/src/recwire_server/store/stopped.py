"""The data directory of a server that does not run, to be read: nothing in it changes."""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from recwire_server.store import DataDirectoryError
from recwire_server.store.database import DATABASE_FILE
from recwire_server.store.directory import LOCK_FILE
from recwire_server.store.schema import SCHEMA_VERSION


@dataclass(frozen=True)
class Content:
    """What a database has. event_revision: of the log; generation: the newest; 0: none yet."""

    item_count: int
    user_count: int
    event_count: int
    event_revision: int
    generation: int


class DirectoryInUseError(DataDirectoryError):
    """A server runs on the directory."""


@contextmanager
def opened(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that reads the database as it was last committed, while no server can start on it.

    A server that was killed leaves a write-ahead log, which SQLite would work into the database; then a copy of both is
    read, in the system's folder of temporary files. Raises DataDirectoryError if there is no database,
    DirectoryInUseError if a server runs on it; sqlite3.DatabaseError, now or at any query, if the file is damaged.
    """
    database = data_dir / DATABASE_FILE
    if not database.is_file():
        raise DataDirectoryError(f"{data_dir} is no data directory: it has no {DATABASE_FILE}")
    if not database.stat().st_size:
        raise DataDirectoryError(f"{database} is empty: what was in it is lost")
    with ExitStack() as exit_stack:
        exit_stack.enter_context(locked(data_dir))
        log = data_dir / f"{DATABASE_FILE}-wal"
        if log.is_file() and log.stat().st_size:
            folder = Path(exit_stack.enter_context(TemporaryDirectory(prefix="recwire-check-")))
            shutil.copyfile(log, folder / log.name)
            database = Path(shutil.copyfile(database, folder / DATABASE_FILE))
            address = f"file:{quote(str(database))}"
        else:
            # immutable: else SQLite makes, and leaves, files for a write-ahead log beside it.
            address = f"file:{quote(str(database.resolve()))}?mode=ro&immutable=1"
        yield exit_stack.enter_context(closing(sqlite3.connect(address, uri=True, isolation_level=None)))


def read_meta(connection: sqlite3.Connection, versions: Collection[int] = (SCHEMA_VERSION,)) -> dict[str, str]:
    """Return the directory's model, dimension and catalogue revision, by their names in the table `meta`.

    Raises DataDirectoryError if the database is not recwire's, or of none of these versions.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        raise DataDirectoryError("the directory holds another program's database")
    found = dict(connection.execute("SELECT name, value FROM meta"))
    if (version := found.get("schema_version")) not in [str(one) for one in versions]:
        raise DataDirectoryError(
            f"the directory has schema version {version}; this is {SCHEMA_VERSION}: start this version's server on it"
            " (of a backup, on what `recwire-server restore` makes of it) once, which brings an older one up to date"
        )
    return found


def read_content(connection: sqlite3.Connection) -> Content:
    """Return what a database has, of any version."""
    numbers = {
        "item_count": "SELECT COUNT(*) FROM items WHERE NOT deleted",
        "user_count": "SELECT COUNT(*) FROM users",
        "event_count": "SELECT COUNT(*) FROM events",
        "event_revision": "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'events'",
        "generation": "SELECT COALESCE(MAX(generation), 0) FROM generations",
    }
    return Content(**{name: connection.execute(sql).fetchone()[0] for name, sql in numbers.items()})


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Keep servers, but no other readers, off the directory; raises DirectoryInUseError if one runs on it.

    A directory without the lock's file has never been served.
    """
    try:
        file = os.open(data_dir / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 32, 0).decode(errors="replace").strip()
        os.close(file)
        raise DirectoryInUseError(f"a server runs on {data_dir} (process {holder})") from error
    try:
        yield
    finally:
        os.close(file)
