"""What the process takes of memory."""

import ctypes
import os
from pathlib import Path


def resident_bytes() -> int:
    """Return the bytes of this process that lie in memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_free() -> None:
    """Give the system what was freed here and lies between what is still used; glibc keeps it otherwise.

    Takes milliseconds. Does nothing where the C library is another.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
