"""A data directory: made to last, and locked, for one server at a time."""

import fcntl
import os
from pathlib import Path

from recwire_server.store import DataDirectoryError


def make_directory(data_dir: Path) -> None:
    """Make a directory, and those above it, if they are missing; once this returns, a power loss does not undo it."""
    made = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
    data_dir.mkdir(parents=True, exist_ok=True)
    for folder in made:  # an fsync of a file in it would not do: that the folder is there is written above it
        file = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


class DirectoryLock:
    """Held while a server uses a data directory; the operating system releases it when the process ends, however."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises DataDirectoryError, naming the holder, if another process has it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 32, 0).decode().strip()
            os.close(file)
            raise DataDirectoryError(
                f"data directory {self._path.parent} is in use by process {holder}: stop it, or choose another"
                " --data-dir"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give the lock back; nothing if it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
