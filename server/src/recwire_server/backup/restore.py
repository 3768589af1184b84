"""Makes a data directory of a backup."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recwire_server.backup import BackupError
from recwire_server.backup.manifest import Manifest, read_manifest
from recwire_server.disk import make_directory, sync, sync_tree
from recwire_server.index import snapshot_folder
from recwire_server.store.database import DATABASE_FILE
from recwire_server.store.directory import LOCK_FILE, DirectoryLock
from recwire_server.store.stopped import locked

PARTIAL = ".restore.partial"
# What may be in an empty directory: the lock of a server that has ended, what a killed restore has left, and what a new
# ext4 file system has.
NOTHING = {LOCK_FILE, PARTIAL, snapshot_folder.FOLDER, "lost+found"}


def restore_backup(backup: Path, data_dir: Path, begin: Callable[[str], None]) -> Manifest:
    """Make `data_dir`, which must be empty or not be there, what the backup's server had; the backup stays as it is.

    The database appears last, whole, and on the disk. begin: told what is done next. Raises BackupError, and
    DataDirectoryError if a server runs on the directory.
    """
    manifest = read_manifest(backup)
    begin("checksums")
    if faults := manifest.faults(backup):
        raise BackupError(f"{backup} is damaged, nothing was restored: {'; '.join(faults)}: restore another backup")
    try:
        with _empty(data_dir):
            begin("copies")
            for name in manifest.files:
                copy = data_dir / PARTIAL / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(backup / name, copy)
            begin("on the disk")
            sync_tree(data_dir / PARTIAL)
            if manifest.has_index:
                (data_dir / PARTIAL / snapshot_folder.FOLDER).rename(data_dir / snapshot_folder.FOLDER)
            (data_dir / PARTIAL / DATABASE_FILE).rename(data_dir / DATABASE_FILE)
            sync(data_dir)
    except OSError as error:
        raise BackupError(f"nothing was restored: {error}") from error
    return manifest


@contextmanager
def _empty(data_dir: Path) -> Iterator[None]:
    """Keep servers off a directory while the block fills it; after an error it is empty again, or not there."""
    is_new = not data_dir.exists()
    if not is_new:
        _check_empty(data_dir)
    make_directory(data_dir)
    lock = DirectoryLock(data_dir)
    lock.acquire()
    try:
        _clear(data_dir)
        yield
        shutil.rmtree(data_dir / PARTIAL)
    except BaseException:
        _clear(data_dir)
        if is_new:
            shutil.rmtree(data_dir)
        raise
    finally:
        lock.release()


def _check_empty(data_dir: Path) -> None:
    if not data_dir.is_dir():
        raise BackupError(f"{data_dir} is no directory")
    found = {path.name for path in data_dir.iterdir()}
    if found <= NOTHING:
        return
    if LOCK_FILE in found:
        with locked(data_dir):  # raises if a server runs on it
            pass
    raise BackupError(f"{data_dir} is not empty: name a directory that is, or move what is in it away")


def _clear(data_dir: Path) -> None:
    for name in (PARTIAL, snapshot_folder.FOLDER):
        shutil.rmtree(data_dir / name, ignore_errors=True)
