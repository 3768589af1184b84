"""Makes a backup of a data directory."""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from recwire_server import __version__
from recwire_server.backup import BackupError
from recwire_server.backup.manifest import Manifest, describe_files, write_manifest
from recwire_server.disk import make_directory, sync, sync_tree
from recwire_server.index import snapshot_folder
from recwire_server.store import StoreDamagedError
from recwire_server.store.copy import copy_database
from recwire_server.store.database import DATABASE_FILE
from recwire_server.store.fault import read_error
from recwire_server.store.schema import SCHEMA_VERSION, UPGRADES
from recwire_server.store.stopped import read_content, read_meta


def save_backup(data_dir: Path, out: Path, begin: Callable[[str], None]) -> Manifest:
    """Make `out` a backup with everything that was acknowledged before this was called; a server may go on writing.

    It appears whole, and on the disk, or not at all. begin: told what is done next. Raises BackupError, and
    DataDirectoryError if there is nothing to back up.
    """
    try:
        with _new_folder(out.resolve()) as folder:
            begin("the database")
            time = datetime.now(UTC).isoformat(timespec="seconds")
            copy_database(data_dir, folder)
            begin("the database, checked")
            with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
                _check(connection, data_dir)
                meta, content = read_meta(connection, [*UPGRADES, SCHEMA_VERSION]), read_content(connection)
            begin("the index snapshot")
            index = snapshot_folder.copy(data_dir / snapshot_folder.FOLDER, folder / snapshot_folder.FOLDER)
            has_index = index is not None and index.generation == content.generation
            if index is not None and not has_index:  # of the generation before, or of one that does not serve yet
                shutil.rmtree(folder / snapshot_folder.FOLDER)
            begin("checksums")
            manifest = Manifest(time, __version__, meta, content, has_index, describe_files(folder))
            write_manifest(folder, manifest)
            begin("on the disk")
    except (sqlite3.Error, OSError) as error:
        raise BackupError(f"no backup was made, and nothing is left of it: {_why(error, data_dir, out)}") from error
    return manifest


def _why(error: sqlite3.Error | OSError, data_dir: Path, out: Path) -> str:
    if isinstance(error, sqlite3.Error) and isinstance(read_error(error), StoreDamagedError):
        return str(read_error(error))
    return f"{error}: {out.resolve().parent} must be writable, and have room for what is in {data_dir}"


def _check(connection: sqlite3.Connection, data_dir: Path) -> None:
    """Raise BackupError for a damaged database: its backup would take a sound one's place."""
    (outcome,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if outcome != "ok":
        raise BackupError(
            f"{data_dir} is damaged: {outcome}: stop its server, let `recwire-server check --data-dir {data_dir}` say"
            " more, and restore an older backup"
        )


@contextmanager
def _new_folder(destination: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes `destination`'s place, on the disk, when the block ends without error.

    One that was killed leaves a folder beside it, which the next one to the same destination clears away.
    """
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise BackupError(f"{destination} exists: name a folder that does not, or an empty one")
    if destination.is_mount():
        raise BackupError(f"{destination} is a mount point and stays in place: name a folder inside it")
    partial = destination.with_name(f".{destination.name}.partial")
    make_directory(partial)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(f"another backup to {destination} is being made: wait for it") from error
        try:
            _clear(partial)
            yield partial
            sync_tree(partial)
            partial.rename(destination)
            sync(destination.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
