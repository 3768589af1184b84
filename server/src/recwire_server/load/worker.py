"""A process that makes its part of a load's calls."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

import grpc

from recwire_server.event_loop import new_event_loop
from recwire_server.load import LoadError
from recwire_server.load.loop import Send, offer, saturate
from recwire_server.load.outcome import Outcomes
from recwire_server.load.schedule import Load, OpenLoad, due_times
from recwire_server.load.workload import PATHS, Request, Workload

CONNECT_TIMEOUT_S = 5.0
OPTIONS = (
    ("grpc.enable_retries", 0),  # a refusal is counted, not tried again
    ("grpc.enable_http_proxy", 0),  # a server that is measured is reached directly; and none sees the key
)


@dataclass(frozen=True)
class Target:
    """The server to call. make_credentials: makes TLS, in each process; None: plain text."""

    address: str
    api_key: str | None = None
    make_credentials: Callable[[], grpc.ChannelCredentials] | None = None


@dataclass(frozen=True)
class Job:
    """A load to put on the server. number: of those of a generator, from 0."""

    workload: Workload
    load: Load
    number: int


def work(target: Target, worker: int, worker_count: int, parent: Connection) -> None:
    """Do jobs until there are no more: for each, say when it is ready, wait for the time to begin, send the outcomes.

    What goes wrong is sent instead, as a LoadError.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        while (job := parent.recv()) is not None:
            try:
                outcome: Outcomes | LoadError = runner.run(_do(target, job, worker, worker_count, parent))
            except LoadError as error:
                outcome = error
            parent.send(outcome)


async def _do(target: Target, job: Job, worker: int, worker_count: int, parent: Connection) -> Outcomes:
    load, requests = job.load, job.workload.requests(f"{job.number} {worker}")
    async with _open(target) as channel:
        await _connect(channel, target)
        send = _send(target, channel, load.timeout_s)
        if isinstance(load, OpenLoad):
            due_s = due_times(load, job.workload.seed + job.number)[worker::worker_count]
            made = list(islice(requests, len(due_s)))
        gc.freeze()  # to look through a long list of requests would take milliseconds
        parent.send(None)
        begin_s: float = await asyncio.get_running_loop().run_in_executor(None, parent.recv)
        cpu_s = time.process_time()
        if isinstance(load, OpenLoad):
            outcomes = await offer(send, load, due_s, made, begin_s)
        else:
            in_flight = len(range(worker, load.in_flight, worker_count))
            outcomes = await saturate(send, load, in_flight, requests, begin_s)
        outcomes.cpu_s = time.process_time() - cpu_s
    gc.unfreeze()
    return outcomes


def _open(target: Target) -> grpc.aio.Channel:
    if target.make_credentials is None:
        return grpc.aio.insecure_channel(target.address, OPTIONS)
    return grpc.aio.secure_channel(target.address, target.make_credentials(), OPTIONS)


async def _connect(channel: grpc.aio.Channel, target: Target) -> None:
    try:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_TIMEOUT_S)
    except TimeoutError as error:
        raise LoadError(f"nothing answers at {target.address}: name a running server") from error


def _send(target: Target, channel: grpc.aio.Channel, timeout_s: float) -> Send:
    # Bytes go in and out as they are: whoever makes messages of them in the same process measures that too.
    of_bytes: Any = channel.unary_unary  # its types want serializers
    methods = {path: of_bytes(path) for path in PATHS.values()}
    metadata = None if target.api_key is None else (("authorization", f"Bearer {target.api_key}"),)

    def send(request: Request) -> object:
        return methods[request.path](request.message, timeout=timeout_s, metadata=metadata)

    return send


def default_worker_count() -> int:
    """Return as many as this process may use cores, but one, which the server or the system has; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)
