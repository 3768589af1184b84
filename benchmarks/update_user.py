"""update_user: durable updates of one event, one at a time and 64 in flight, by a server on one core.

One at a time beside an empty call to the same server (health) and an append and fdatasync of as many bytes on the same
disk, in turn: an update cannot cost less than the two. 64 in flight beside as many empty calls. The client has another
core, and sends what was serialized before, on the raw channel: it would be the limit otherwise. Users' states are in
the server's memory, as those of users are who get recommendations.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np
from rich.table import Table

from benchmarks.measurement import Contender, measure
from benchmarks.served import Served, append_and_fdatasync, pinned, served
from recwire import Client, Event, Item, to_bytes
from recwire.v1.recommender_service_pb2 import UpdateUserRequest

SEED = 7
ITEM_COUNT, USER_COUNT = 5_000, 1_000  # so few that no graph is built meanwhile
ROUNDS, CALLS, WARM_UP_CALLS = 15, 400, 200
IN_FLIGHT, CALLS_IN_FLIGHT = 64, 5_000
UPDATE, EMPTY = "/recwire.v1.RecommenderService/UpdateUser", "/grpc.health.v1.Health/Check"


@dataclass(frozen=True)
class Flight:
    """Calls of which many are in flight, over rounds; the medians of the rounds' figures. cpu_ms: of the server."""

    calls_per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    rounds_calls_per_s: list[float]


class Result(TypedDict):
    """What is kept, ready for JSON. one_at_a_time: a `measurement.Measurement` by contender; in_flight: a `Flight`."""

    model: str
    items: int
    users: int
    seed: int
    server_cores: int
    one_at_a_time: dict[str, dict[str, Any]]
    p50_ratio_to_fdatasync: float
    p50_ratio_to_empty_call_and_fdatasync: float
    in_flight: dict[str, dict[str, Any]]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer calls."""
    share = 8 if quick else 1
    cores = sorted(os.sched_getaffinity(0))
    with TemporaryDirectory(prefix="recwire-update-") as folder, ExitStack() as exit_stack:
        with pinned(cores[0]):
            server = exit_stack.enter_context(served(Path(folder) / "data"))
        with pinned(cores[-1]):
            model = _fill(server.address)
            alone = measure(_contenders(server, Path(folder), exit_stack), ROUNDS, CALLS // share, WARM_UP_CALLS)
            flights = asyncio.run(_fly(server, ROUNDS, CALLS_IN_FLIGHT // share))
    p50_ms = {name: one.p50_ms for name, one in alone.items()}
    return {
        "model": model,
        "items": ITEM_COUNT,
        "users": USER_COUNT,
        "seed": SEED,
        "server_cores": 1,
        "one_at_a_time": {name: asdict(one) for name, one in alone.items()},
        "p50_ratio_to_fdatasync": round(p50_ms["update_user"] / p50_ms["fdatasync"], 2),
        "p50_ratio_to_empty_call_and_fdatasync": round(
            p50_ms["update_user"] / (p50_ms["empty_call"] + p50_ms["fdatasync"]), 2
        ),
        "in_flight": {name: asdict(flight) for name, flight in flights.items()},
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    shown = Table("calls", "a second", "p50 ms", "p99 ms", "CPU ms", title=f"update_user: {result['model']}, one core")
    for name, one in result["one_at_a_time"].items():
        shown.add_row(name, "", *(f"{one[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms")))
    for name, flight in result["in_flight"].items():
        figures = (f"{flight[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms"))
        shown.add_row(f"{name}, {IN_FLIGHT} in flight", f"{flight['calls_per_s']:,.0f}", *figures)
    shown.add_row("update_user / fdatasync", "", f"{result['p50_ratio_to_fdatasync']}")
    shown.add_row("update_user / (empty_call + fdatasync)", "", f"{result['p50_ratio_to_empty_call_and_fdatasync']}")
    return shown


def _fill(address: str) -> str:
    """Import items, and have the server hold users; return the model's name."""
    with Client(address, timeout_s=60) as client:
        info = client.get_server_info()
        vectors = np.random.default_rng(SEED).normal(size=(ITEM_COUNT, info.dimension))
        for _ in client.import_items(Item(item_id=str(n), vector=to_bytes(v)) for n, v in enumerate(vectors)):
            pass
        for user in range(USER_COUNT):
            client.update_user(str(user), [Event(item_id=str(user))])
            client.recommend(str(user), limit=1)
        return info.model.name


def _requests() -> Iterator[bytes]:
    """Yield requests, each of one new event on an item."""
    chance = random.Random(SEED)
    while True:
        event = Event(event_id=f"{chance.getrandbits(128):x}", item_id=str(chance.randrange(ITEM_COUNT)))
        yield UpdateUserRequest(user_id=str(chance.randrange(USER_COUNT)), events=[event]).SerializeToString()


def _contenders(server: Served, folder: Path, exit_stack: ExitStack) -> dict[str, Contender]:
    channel = exit_stack.enter_context(grpc.insecure_channel(server.address))
    update, empty = channel.unary_unary(UPDATE), channel.unary_unary(EMPTY)
    requests = _requests()
    return {
        "update_user": Contender(lambda: update(next(requests)), server.threads_cpu_s),
        "empty_call": Contender(lambda: empty(b""), server.threads_cpu_s),
        "fdatasync": Contender(append_and_fdatasync(folder / "log", len(next(requests))), time.process_time),
    }


async def _fly(server: Served, rounds: int, calls: int) -> dict[str, Flight]:
    """Return what many calls at a time come to, updates and empty calls in turn; the first round of each is not
    counted."""
    requests = _requests()
    messages: dict[str, Callable[[], list[bytes]]] = {
        "update_user": lambda: [next(requests) for _ in range(calls)],
        "empty_call": lambda: [b""] * calls,
    }
    measured: dict[str, list[_Round]] = {name: [] for name in messages}
    async with grpc.aio.insecure_channel(server.address) as channel:
        methods = {"update_user": channel.unary_unary(UPDATE), "empty_call": channel.unary_unary(EMPTY)}
        for _ in range(rounds + 1):
            for name, method in methods.items():
                measured[name].append(await _round(method, messages[name](), server))
    return {name: _told(rounds[1:]) for name, rounds in measured.items()}


@dataclass(frozen=True)
class _Round:
    wall_s: float
    cpu_s: float
    call_s: Sequence[float]


async def _round(method: Callable[[bytes], Any], messages: Sequence[bytes], server: Served) -> _Round:
    remaining = iter(messages)
    call_s: list[float] = []

    async def caller() -> None:
        for message in remaining:
            start_s = time.perf_counter()
            await method(message)
            call_s.append(time.perf_counter() - start_s)

    cpu_s, start_s = server.threads_cpu_s(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return _Round(time.perf_counter() - start_s, server.threads_cpu_s() - cpu_s, call_s)


def _told(rounds: Sequence[_Round]) -> Flight:
    call_ms = 1e3 * np.concatenate([one.call_s for one in rounds])
    calls_per_s = [round(len(one.call_s) / one.wall_s, 1) for one in rounds]
    return Flight(
        calls_per_s=round(float(np.median(calls_per_s)), 1),
        cpu_ms=round(1e3 * float(np.median([one.cpu_s / len(one.call_s) for one in rounds])), 4),
        p50_ms=round(float(np.percentile(call_ms, 50)), 3),
        p99_ms=round(float(np.percentile(call_ms, 99)), 3),
        rounds_calls_per_s=calls_per_s,
    )
