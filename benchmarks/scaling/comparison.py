"""The benchmark: servers of all sizes at once, one of which is asked by many clients and by users of all lengths."""

import asyncio
import itertools
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from rich.console import Console

from benchmarks.catalogue_vectors import SEED, make
from benchmarks.flight import Calls, Flight, fly
from benchmarks.measurement import Contender, measure
from benchmarks.scaling.history import measure_histories
from benchmarks.scaling.scaled import USERS, Scaled, pin_process, scaled, user_name
from benchmarks.served import SHARED_DATA, Served, default_encoder, pinned
from recwire.v1.recommender_service_pb2 import RecommendRequest

RECOMMEND = "/recwire.v1.RecommenderService/Recommend"
MIN_CALLS_A_CALLER = 5  # in a round: with fewer it would be mostly its begin and end, when not all are in flight


@dataclass(frozen=True)
class Extent:
    """What is measured. encoded: texts that items are made of. asked_size: of the server that many clients and users
    of all lengths ask. calls: a round; calls_in_flight: the same of many at a time."""

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    encoded: int = 4_000
    asked_size: int = 100_000
    in_flight: tuple[int, ...] = (1, 4, 16, 64)
    lengths: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    rounds: int = 15
    calls: int = 40
    calls_in_flight: int = 1_000
    warm_up_calls: int = USERS


QUICK = Extent(
    sizes=(1_000, 10_000),
    encoded=500,
    asked_size=10_000,
    lengths=(1, 10, 100, 1_000),
    rounds=5,
    calls=20,
    calls_in_flight=200,
)


class Result(TypedDict):
    """What is kept, ready for JSON. sizes: by items, `call` as `measurement.Measurement` has it; clients: a
    `flight.Flight` by calls in flight; history: by events a user, a measurement of each call. Both are of `asked_size`
    items."""

    model: str
    made_of: str
    seed: int
    sizes: dict[str, dict[str, Any]]
    asked_size: int
    clients: dict[str, dict[str, Any]]
    history: dict[str, dict[str, dict[str, Any]]]


def run(quick: bool) -> Result:
    """Return the result. quick: up to 10,000 items and 1,000 events."""
    return measure_scaling(QUICK if quick else Extent())


def measure_scaling(extent: Extent) -> Result:
    """Return the result of so much."""
    encoder = default_encoder()
    _report(f"encode {extent.encoded:,} texts")
    catalogue = make(max(extent.sizes), extent.encoded, encoder, SHARED_DATA, workers=2)
    with TemporaryDirectory(prefix="recwire-scaling-") as folder, ExitStack() as exit_stack:
        servers = {}
        for size in extent.sizes:
            _report(f"import {size:,} items")
            data_dir = Path(folder) / str(size)
            servers[size] = exit_stack.enter_context(scaled(data_dir, catalogue.rows[:size]))
        cores = sorted(os.sched_getaffinity(0))
        for one in servers.values():
            pin_process(one.server.process.pid, cores[0])
        with pinned(cores[-1]):
            _report("sizes")
            sizes = _sizes(list(servers.values()), extent)
            _report("clients, history")
            asked = servers[extent.asked_size]
            flights = _flights(asked.server, extent)
            histories = measure_histories(asked, extent.lengths, extent.rounds, extent.calls, extent.warm_up_calls)
    return {
        "model": encoder.model.name,
        "made_of": catalogue.made_of,
        "seed": SEED,
        "sizes": sizes,
        "asked_size": extent.asked_size,
        "clients": {str(count): asdict(flight) for count, flight in flights.items()},
        "history": {
            str(length): {call: asdict(measurement) for call, measurement in calls.items()}
            for length, calls in histories.items()
        },
    }


def _flights(server: Served, extent: Extent) -> dict[int, Flight]:
    """Return what Recommend comes to with so many calls in flight."""
    users = itertools.cycle(range(USERS))

    def messages(count: int) -> list[bytes]:
        calls = max(extent.calls_in_flight, MIN_CALLS_A_CALLER * count)
        return [RecommendRequest(user_id=user_name(next(users))).SerializeToString() for _ in range(calls)]

    calls = {count: Calls(RECOMMEND, partial(messages, count), count) for count in extent.in_flight}
    return asyncio.run(fly(server, calls, extent.rounds))


def _sizes(servers: Sequence[Scaled], extent: Extent) -> dict[str, dict[str, Any]]:
    contenders = {one.item_count: _recommend(one) for one in servers}
    measured = measure(contenders, extent.rounds, extent.calls, extent.warm_up_calls)
    return {
        str(one.item_count): {
            "method": one.info.index.method,
            "reason": one.info.index.reason,
            "recall": round(one.recall(), 4),
            "call": asdict(measured[one.item_count]),
        }
        for one in servers
    }


def _recommend(one: Scaled) -> Contender:
    users = itertools.cycle(range(USERS))
    return Contender(lambda: one.client.recommend(user_name(next(users))), one.server.threads_cpu_s)


def _report(step: str) -> None:
    Console(stderr=True).print(step)
