"""Real disks that are small or read-only, and a library that makes a process's calls on files fail."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

LIBRARY_SOURCE = Path(__file__).parent / "failing_calls.c"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of this size on a folder for the length of the block; skips where that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make a file, or a folder with all that is in it, read-only for the length of the block, also for root."""
    _mount("--bind", path, path)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        _unmount(path)


@contextmanager
def full(folder: Path, left_bytes: int = 0) -> Iterator[None]:
    """Keep the disk that a folder is on full for the length of the block, but for some bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() - left_bytes)
    try:
        yield
    finally:
        filler.unlink()


class FailingCalls:
    """Lets calls of a process on the files in a folder fail, or take long, while they are told to.

    environment: for the process. Calls are `fsync`, `read` and `write`, whatever their variants.
    """

    def __init__(self, scratch: Path, folder: Path) -> None:
        self._control = scratch / "failing"
        library = scratch / "failing_calls.so"
        compiler = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(LIBRARY_SOURCE), "-ldl"]
        subprocess.run(compiler, check=True)
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAILING_CALLS": str(self._control),
            "FAILING_FOLDER": str(folder),
        }

    def failing(self, call: str, error: int) -> AbstractContextManager[None]:
        """Let calls fail with this error number for the length of the block."""
        return self._told(f"{call} {error} 0")

    def slow(self, call: str, wait_s: float) -> AbstractContextManager[None]:
        """Let calls take so much longer for the length of the block."""
        return self._told(f"{call} 0 {round(1e3 * wait_s)}")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        draft = self._control.with_suffix(".draft")
        draft.write_text(what)
        draft.rename(self._control)
        try:
            yield
        finally:
            self._control.unlink()


def _mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")


def _unmount(path: Path) -> None:
    # Lazy: a process that still has a file open there must not keep the mount.
    subprocess.run(["umount", "--lazy", path], check=True)
