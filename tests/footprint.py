"""What a server's process holds: descriptors, threads, tasks, memory; and waiting until it lets go of it."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from server_process import ServerProcess

from recwire import Client, RecwireError

PATIENCE_S = 60.0  # for what takes less than a second on an idle machine
# gRPC keeps a pool of threads, which grows by what is to do at a time, and shrinks when it likes.
THREADS_MORE = 16
LOOK_S = 0.25
NO_REVISION_YET = 2**62


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


def wait_until_let_go(server: ServerProcess, before: Footprint) -> Footprint:
    """Wait until a server has no more descriptors and tasks than before, and return what it holds then."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        now = footprint(server)
        if (
            now.descriptors <= before.descriptors
            and now.tasks <= before.tasks
            and now.threads <= before.threads + THREADS_MORE
        ):
            return now
        assert time.monotonic() < deadline_s, f"the server holds {now}, and held {before}"
        give_it_time(server.client)


def give_it_time(client: Client) -> None:
    """Let the server work for a moment: it waits for a revision that does not come."""
    with suppress(RecwireError):
        client.recommend("nobody", min_revision=NO_REVISION_YET, timeout_s=LOOK_S)
