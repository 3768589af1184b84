"""Notices that files have changed."""

import os
from collections.abc import Sequence
from pathlib import Path


class FileChanges:
    """Tells whether files are others, or have been written to, since it was last asked.

    Costs one stat() a file, some microseconds. Read the files after asking: what changes meanwhile is told next time.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._seen: list[tuple[int, int, int] | None] = []

    def any(self) -> bool:
        """Return whether there was a change; the first time, always."""
        now = [_identity(path) for path in self._paths]
        changed, self._seen = now != self._seen, now
        return changed


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file has been replaced or written to; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
