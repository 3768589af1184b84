"""What a server's process holds: descriptors, threads, tasks, memory; and waiting until it lets go of it."""

from dataclasses import dataclass
from pathlib import Path

import psutil
from server_process import ServerProcess
from waiting import wait_until


@dataclass(frozen=True)
class Footprint:
    """What a process holds. tasks: of asyncio."""

    descriptors: int
    threads: int
    tasks: int
    resident_bytes: int


def footprint(server: ServerProcess) -> Footprint:
    """Return what a server with the hash encoder holds now."""
    process = Path(f"/proc/{server.pid}")
    return Footprint(
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        tasks=server.task_count(),
        resident_bytes=psutil.Process(server.pid).memory_info().rss,
    )


def wait_until_let_go(server: ServerProcess, before: Footprint) -> None:
    """Wait until a server has no more descriptors, threads and tasks than before."""
    last = before

    def has_let_go() -> bool:
        nonlocal last
        last = footprint(server)
        return all(getattr(last, what) <= getattr(before, what) for what in ("descriptors", "threads", "tasks"))

    try:
        wait_until(server.client, has_let_go)
    except AssertionError as error:
        raise AssertionError(f"the server holds {last}, and held {before}") from error
