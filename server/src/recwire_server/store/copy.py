"""A copy of a data directory's database, as it was at one moment."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from recwire_server.store import DataDirectoryError
from recwire_server.store.database import DATABASE_FILE
from recwire_server.store.stopped import DirectoryInUseError, locked


def copy_database(data_dir: Path, folder: Path) -> None:
    """Copy the database into a folder, with everything that was committed when this was called.

    A server may run on the directory, and goes on writing meanwhile. Without one, none can start until the copy is
    there, and nothing in the directory changes. Raises DataDirectoryError if there is no database, sqlite3.Error and
    OSError if it cannot be read or the folder not be written.
    """
    database, target = data_dir / DATABASE_FILE, folder / DATABASE_FILE
    if not database.is_file():
        raise DataDirectoryError(f"{data_dir} is no data directory: it has no {DATABASE_FILE}")
    try:
        with locked(data_dir):
            shutil.copyfile(database, target)
            log = database.with_name(f"{DATABASE_FILE}-wal")
            if log.is_file():  # of a server that was killed
                shutil.copyfile(log, target.with_name(log.name))
    except DirectoryInUseError:
        address = f"file:{quote(str(database.resolve()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)  # all pages in one step: one read transaction, beside which the server writes on
    _work_in_log(target)


def _work_in_log(database: Path) -> None:
    """Make one file of a database and its write-ahead log."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy, "nobody else knows the copy"
