"""Waits for a time as exactly as the kernel can.

Event loops count in milliseconds, which is longer than many a call takes. Linux has files that are timers, in
nanoseconds; elsewhere the event loop's own has to do.
"""

import asyncio
import ctypes
import os
import sys
import time
from types import TracebackType
from typing import Any, Self

TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = 0o4000, 0o2000000, 1  # of <sys/timerfd.h>


class Timer:
    """Wakes one task of the event loop that runs. Use it as `with`."""

    def __init__(self) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._fd = -1
        self._rung = asyncio.Event()

    def __enter__(self) -> Self:
        if self._libc:
            self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
            if self._fd < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            asyncio.get_running_loop().add_reader(self._fd, self._ring)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)

    async def wait_until(self, time_s: float) -> None:
        """Return at a time of time.perf_counter(), which is Linux' CLOCK_MONOTONIC; other tasks run once in any
        case."""
        early_s = time_s - time.perf_counter()
        if early_s <= 0 or self._fd < 0:
            await asyncio.sleep(max(0.0, early_s))
            return
        seconds = int(time_s)
        setting = _Setting(value=_Time(seconds, int(1e9 * (time_s - seconds))))
        self._rung.clear()
        self._libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(setting), None)
        await self._rung.wait()

    def _ring(self) -> None:
        os.read(self._fd, 8)  # how often it rang
        self._rung.set()


class _Time(ctypes.Structure):
    """A struct timespec."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    """A struct itimerspec."""

    _fields_ = (("interval", _Time), ("value", _Time))
