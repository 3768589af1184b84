"""A rival's server: a process of its own, with those that it starts."""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import psutil

START_S, STOP_S = 60.0, 30.0  # after which a server that is not ready, or was told to stop, is killed


@dataclass(frozen=True)
class ServerProcesses:
    """A server and the processes that it started (Linux)."""

    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds of those that live, to the nanosecond."""
        return sum(time.clock_gettime(_cpu_clock(process.pid)) for process in self._processes())

    def memory_bytes(self) -> int:
        """Return what they take of memory; what several share counts once."""
        return sum(int(process.memory_full_info().pss) for process in self._processes())

    def pin(self, core: int) -> None:
        """Keep them, and what they start from now on, on one core."""
        for thread in self._threads():
            os.sched_setaffinity(int(thread.name), {core})

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.pid)
        return [server, *server.children(recursive=True)]

    def _threads(self) -> list[Path]:
        return [thread for process in self._processes() for thread in Path(f"/proc/{process.pid}/task").iterdir()]


def _cpu_clock(pid: int) -> int:
    """Return the clock of a process's CPU time, as clock_getcpuclockid(3) does: threads that have ended count."""
    return (~pid << 3) | 2


@contextmanager
def running(
    command: Sequence[str],
    ready: str,
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[ServerProcesses]:
    """Run a server for the length of the block, which begins once a line of its output has `ready` in it.

    user: whom to run it as; None: who runs this. environment: beside this process's. Raises RuntimeError with what it
    said if it ends before it is ready, or takes too long to be.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        **as_user(user),
    )
    assert process.stdout is not None
    said = []
    impatience = Timer(START_S, process.kill)
    impatience.start()
    try:
        for line in process.stdout:
            said.append(line)
            if ready in line:
                break
        else:
            raise RuntimeError(f"{command[0]} ended before it was ready; it said:\n{''.join(said)}")
        impatience.cancel()
        Thread(target=deque, args=(process.stdout, 0), daemon=True).start()  # a full pipe would block it
        yield ServerProcesses(process.pid)
    finally:
        impatience.cancel()
        process.send_signal(stop)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def as_user(user: str | None) -> dict[str, Any]:
    """Return the arguments of subprocess with which a command runs as another user; None: as who runs this."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
