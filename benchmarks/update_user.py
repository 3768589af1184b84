"""update_user: durable updates of one event, one at a time and 64 in flight, by a server on one core.

One at a time beside an empty call to the same server (health) and an append and fdatasync of as many bytes on the same
disk, in turn: an update cannot cost less than the two. And beside PostgreSQL, which inserts the event and adds the
item's vector to the user's in one durable transaction, and Redis, which appends the event and sets the user's vector in
one MULTI, its append-only file synced before it answers; there the client adds the vectors up, and never asks for them.

64 in flight beside as many empty calls. The client has another core, and sends what was serialized before, on the raw
channel: it would be the limit otherwise. Users' states are in the server's memory, as those of users are who get
recommendations.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np
from rich.table import Table

from benchmarks.filled_server import Serve, serve_default
from benchmarks.flight import IN_FLIGHT, Calls, fly
from benchmarks.measurement import Contender, measure
from benchmarks.rivals.contender import PGVECTOR, REDIS, Opener, build, opened
from benchmarks.rivals.postgres import postgres
from benchmarks.rivals.redis_server import redis_server
from benchmarks.rivals.rival import RecordingRival
from benchmarks.served import Served, append_and_fdatasync, pinned
from recwire import Client, Event, Item, to_bytes
from recwire.v1.recommender_service_pb2 import UpdateUserRequest
from recwire_server.vector import Vectors

SEED = 7
UPDATE, EMPTY = "/recwire.v1.RecommenderService/UpdateUser", "/grpc.health.v1.Health/Check"
RECORDERS: Mapping[str, Opener[RecordingRival]] = {PGVECTOR: postgres, REDIS: redis_server}


@dataclass(frozen=True)
class Size:
    """How much is measured. items: so few that no graph is built meanwhile."""

    items: int = 5_000
    users: int = 1_000
    rounds: int = 15
    calls: int = 400
    warm_up_calls: int = 200
    calls_in_flight: int = 5_000


QUICK = Size(users=200, rounds=5, calls=50, warm_up_calls=50, calls_in_flight=625)


class Result(TypedDict):
    """What is kept, ready for JSON.

    one_at_a_time: a `measurement.Measurement` by contender, of rivals with their version. in_flight: a `flight.Flight`
    by contender. not_measured: why, by rival.
    """

    model: str
    items: int
    users: int
    seed: int
    server_cores: int
    one_at_a_time: dict[str, dict[str, Any]]
    p50_ratio_to_fdatasync: float
    p50_ratio_to_empty_call_and_fdatasync: float
    in_flight: dict[str, dict[str, Any]]
    not_measured: dict[str, str]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer calls."""
    return compare(QUICK if quick else Size(), serve_default, RECORDERS)


def compare(size: Size, serve: Serve, openers: Mapping[str, Opener[RecordingRival]]) -> Result:
    """Return what updates of recwire and its rivals come to."""
    cores = sorted(os.sched_getaffinity(0))
    with (
        TemporaryDirectory(prefix="recwire-update-") as folder,
        opened(Path(folder), openers) as here,
        ExitStack() as exit_stack,
    ):
        with pinned(cores[0]):
            server = exit_stack.enter_context(serve(Path(folder) / "data", {}))
        exit_stack.enter_context(pinned(cores[-1]))
        model, rows = _fill(server.address, size)
        for rival in here.rivals.values():
            build(rival, rows, cores[0])
            for user in range(size.users):
                rival.record(user, user)
        contenders = _contenders(server, Path(folder), size, exit_stack) | {
            name: Contender(_recording(rival, size), rival.cpu_s) for name, rival in here.rivals.items()
        }
        alone = measure(contenders, size.rounds, size.calls, size.warm_up_calls)
        flights = asyncio.run(fly(server, _calls_in_flight(size), size.rounds))
    versions = {name: {"version": rival.version} for name, rival in here.rivals.items()}
    p50_ms = {name: one.p50_ms for name, one in alone.items()}
    return {
        "model": model,
        "items": size.items,
        "users": size.users,
        "seed": SEED,
        "server_cores": 1,
        "one_at_a_time": {name: {**versions.get(name, {}), **asdict(one)} for name, one in alone.items()},
        "p50_ratio_to_fdatasync": round(p50_ms["update_user"] / p50_ms["fdatasync"], 2),
        "p50_ratio_to_empty_call_and_fdatasync": round(
            p50_ms["update_user"] / (p50_ms["empty_call"] + p50_ms["fdatasync"]), 2
        ),
        "in_flight": {name: asdict(flight) for name, flight in flights.items()},
        "not_measured": here.not_measured,
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    shown = Table("calls", "a second", "p50 ms", "p99 ms", "CPU ms", title=f"update_user: {result['model']}, one core")
    for name, one in result["one_at_a_time"].items():
        shown.add_row(name, "", *(f"{one[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms")))
    for name, flight in result["in_flight"].items():
        figures = (f"{flight[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms"))
        shown.add_row(f"{name}, {IN_FLIGHT} in flight", f"{flight['calls_per_s']:,.0f}", *figures)
    for name, why in result["not_measured"].items():
        shown.add_row(f"{name}, not measured: {why}")
    shown.add_row("update_user / fdatasync", "", f"{result['p50_ratio_to_fdatasync']}")
    shown.add_row("update_user / (empty_call + fdatasync)", "", f"{result['p50_ratio_to_empty_call_and_fdatasync']}")
    return shown


def _fill(address: str, size: Size) -> tuple[str, Vectors]:
    """Import items, and have the server hold users; return the model's name and the items' vectors."""
    with Client(address, timeout_s=60) as client:
        info = client.get_server_info()
        rows = np.random.default_rng(SEED).normal(size=(size.items, info.dimension)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for _ in client.import_items(Item(item_id=str(n), vector=to_bytes(row)) for n, row in enumerate(rows)):
            pass
        for user in range(size.users):
            client.update_user(str(user), [Event(item_id=str(user))])
            client.recommend(str(user), limit=1)
        return info.model.name, rows


def _events(size: Size) -> Iterator[tuple[int, int]]:
    """Yield events, each a user and an item; the same for all contenders."""
    chance = random.Random(SEED)
    while True:
        yield chance.randrange(size.users), chance.randrange(size.items)


def _requests(size: Size) -> Iterator[bytes]:
    """Yield requests, each of one new event on an item."""
    chance = random.Random(SEED)
    for user, item in _events(size):
        event = Event(event_id=f"{chance.getrandbits(128):x}", item_id=str(item))
        yield UpdateUserRequest(user_id=str(user), events=[event]).SerializeToString()


def _contenders(server: Served, folder: Path, size: Size, exit_stack: ExitStack) -> dict[str, Contender]:
    channel = exit_stack.enter_context(grpc.insecure_channel(server.address))
    update, empty = channel.unary_unary(UPDATE), channel.unary_unary(EMPTY)
    requests = _requests(size)
    return {
        "update_user": Contender(lambda: update(next(requests)), server.threads_cpu_s),
        "empty_call": Contender(lambda: empty(b""), server.threads_cpu_s),
        "fdatasync": Contender(append_and_fdatasync(folder / "log", len(next(requests))), time.process_time),
    }


def _recording(rival: RecordingRival, size: Size) -> Callable[[], None]:
    events = _events(size)
    return lambda: rival.record(*next(events))


def _calls_in_flight(size: Size) -> dict[str, Calls]:
    requests = _requests(size)
    return {
        "update_user": Calls(UPDATE, lambda: [next(requests) for _ in range(size.calls_in_flight)]),
        "empty_call": Calls(EMPTY, lambda: [b""] * size.calls_in_flight),
    }
