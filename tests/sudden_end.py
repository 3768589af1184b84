"""A process that is killed while it writes certain files: the moment is found by watching their folder."""

import ctypes
import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from server_process import PATIENCE_S

# From inotify(7).
IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
CHANGES = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
HEADER = struct.Struct("iIII")  # wd, mask, cookie, length of the name


class FolderWatch:
    """The names of a folder's files that are made, written, renamed or removed, from now on."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._names: list[str] = []

    def wait_for(self, pattern: str, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until a file is changed whose name matches; return whether one was, within the time.

        Changes before that are forgotten.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            while self._names:
                if fnmatch(self._names.pop(0), pattern):
                    return True
            if not select.select([self._file], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                return False
            self._read()

    def forget(self) -> None:
        """Forget the changes up to now."""
        while select.select([self._file], [], [], 0)[0]:
            self._read()
        self._names.clear()

    def _read(self) -> None:
        content, place = os.read(self._file, 1 << 16), 0
        while place < len(content):
            *_, length = HEADER.unpack_from(content, place)
            place += HEADER.size + length
            self._names.append(content[place - length : place].rstrip(b"\0").decode())


@contextmanager
def watching(folder: Path) -> Iterator[FolderWatch]:
    """Watch a folder, which must be there, for the length of the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = libc.inotify_init1(os.O_CLOEXEC)
    try:
        if file < 0 or libc.inotify_add_watch(file, os.fsencode(folder), CHANGES) < 0:
            raise OSError(ctypes.get_errno(), f"{folder} cannot be watched")
        yield FolderWatch(file)
    finally:
        os.close(file)


def kill_inside(kill: Callable[[], object], watch: FolderWatch, pattern: str, delay_s: float) -> None:
    """Kill a process so many seconds after the next change of a file whose name matches."""
    assert watch.wait_for(pattern), f"no {pattern} was written"
    time.sleep(delay_s)
    kill()
