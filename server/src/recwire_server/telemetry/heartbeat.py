"""How late the event loop is."""

import asyncio
import time
from collections.abc import Callable

INTERVAL_S = 0.1  # ten a second: some 10 us of CPU each


class Heartbeat:
    """Beats on the event loop, and tells how late each beat was. Belongs to the event loop, `stall_s` aside."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat."""
        loop = asyncio.get_running_loop()
        self._due_s = time.monotonic() + INTERVAL_S
        self._timer = loop.call_later(INTERVAL_S, self._beat, loop)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def stall_s(self) -> float:
        """How late the next beat is already; 0 while it is not due. May be read on any thread: it shows a loop that is
        blocked now."""
        return max(0.0, time.monotonic() - self._due_s) if self._timer is not None else 0.0

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell(max(0.0, time.monotonic() - self._due_s))
        self._due_s = time.monotonic() + INTERVAL_S
        self._timer = loop.call_later(INTERVAL_S, self._beat, loop)
