"""A data directory: one server at a time, and only while it is where it was."""

import fcntl
import os
from pathlib import Path

from recwire_server.store import DataDirectoryError, StoreWriteError
from recwire_server.store.database import DATABASE_FILE

LOCK_FILE = "lock"


class DirectoryLock:
    """Held while a server uses a data directory; the operating system releases it when the process ends, however."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / LOCK_FILE
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises DataDirectoryError, naming the holder, if another process has it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            told = _holder(file)
            os.close(file)
            raise DataDirectoryError(f"data directory {self._path.parent} {told}") from error
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Give the lock back; nothing if it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _holder(file: int) -> str:
    """Return who has the lock of this file, which was refused."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # readers share it
    except BlockingIOError:
        holder = os.pread(file, 32, 0).decode(errors="replace").strip()
        return f"is in use by process {holder}: stop it, or choose another --data-dir"
    return "is being read by `recwire-server check` or `backup`: try again once that has ended"


class FilesInPlace:
    """Notices that the files of a database that is open are gone from the directory: SQLite would write on into files
    that nobody finds again, and acknowledge it."""

    def __init__(self, data_dir: Path) -> None:
        paths = [str(data_dir / name) for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal")]
        self._inodes = {path: os.stat(path).st_ino for path in paths}

    def check(self) -> None:
        """Raise StoreWriteError if a file is no longer there."""
        for path, inode in self._inodes.items():
            try:
                is_there = os.stat(path).st_ino == inode
            except OSError:
                is_there = False
            if not is_there:
                raise StoreWriteError(
                    f"the write was not stored: {path} was moved, removed or replaced while the server runs on it:"
                    " put it back, or stop the server and restore a backup"
                )
