"""The benchmark: builds all contenders, tunes the rivals, measures in turn, tells what is missing."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np

from benchmarks.filled_server import Serve, mean_vector, serve_default, settings_for
from benchmarks.flight import IN_FLIGHT
from benchmarks.made_vectors import MadeVectors, default_vectors, topical_histories
from benchmarks.measurement import Measurement, measure
from benchmarks.promise import Promise, cpu_promise, p50_promise
from benchmarks.recommend.contender import RECWIRE, as_good, filled, recwire_contenders, rival_contenders, tune
from benchmarks.rivals.contender import CHROMA, PGVECTOR, RAW, REDIS, RIVALS, Opener, build, opened
from benchmarks.rivals.rival import Rival
from benchmarks.rivals.server import ServerProcesses
from benchmarks.rivals.truth import Asked, K, Truth
from benchmarks.rivals.tuning import sweep
from benchmarks.served import pinned
from recwire import Client

SEED = 7
RECALL = 0.95
NEARLY_ALL = 0.995  # a recall up to which efforts are swept, for the plot


@dataclass(frozen=True)
class Size:
    """How much is measured: the default takes 10 minutes, most of it to build six indexes."""

    items: int = 100_000
    encoded_items: int = 20_000
    users: int = 200
    rounds: int = 15
    calls: int = 100
    warm_up_calls: int = 40
    calls_in_flight: int = 2_000


QUICK = Size(items=5_000, encoded_items=1_000, users=50, rounds=3, calls=20, warm_up_calls=10, calls_in_flight=200)


class Result(TypedDict):
    """What is kept, ready for JSON.

    contenders: by name, a `measurement.Measurement` with version, recall, and of a rival where, knob, effort.
    build_s: to index all items, by rival. memory_bytes: of recwire and the rivals, in the end. sweeps: a
    `tuning.Step` each, by rival. in_flight: a `flight.Flight` of recwire's. promises: a `promise.Promise` each.
    not_measured: why, by rival.
    """

    items: int
    made_of: str
    users: int
    events_a_user: int
    limit: int
    seed: int
    server_cores: int
    recall_target: float
    method: str
    reason: str
    max_score_difference: float
    contenders: dict[str, dict[str, Any]]
    build_s: dict[str, float]
    memory_bytes: dict[str, int]
    sweeps: dict[str, list[dict[str, Any]]]
    calls_in_flight: int
    in_flight: dict[str, Any]
    promises: list[dict[str, Any]]
    not_measured: dict[str, str]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer items and calls."""
    size = QUICK if quick else Size()
    return compare(default_vectors(size.items, size.encoded_items), size, serve_default, RIVALS)


def compare(vectors: MadeVectors, size: Size, serve: Serve, openers: Mapping[str, Opener[Rival]]) -> Result:
    """Return what recwire and its rivals come to on these vectors."""
    rows = vectors.rows
    histories = topical_histories(rows, size.users, np.random.default_rng(SEED))
    truth = Truth(rows, [Asked(mean_vector(rows, history), history) for history in histories])
    cores = sorted(os.sched_getaffinity(0))
    with (
        TemporaryDirectory(prefix="recwire-recommend-") as folder,
        opened(Path(folder), openers) as here,
        ExitStack() as exit_stack,
    ):
        build_s = {name: build(rival, rows, cores[0]) for name, rival in here.rivals.items()}
        with pinned(cores[0]):
            server = exit_stack.enter_context(serve(Path(folder) / "data", settings_for(len(rows))))
        exit_stack.enter_context(pinned(cores[-1]))
        recwire = filled(server, exit_stack.enter_context(Client(server.address, timeout_s=60)), rows, truth)
        enough = max(NEARLY_ALL, recwire.recall)
        sweeps = {name: sweep(rival, truth, enough) for name, rival in here.rivals.items()}
        tuned = tune(here.rivals, sweeps, RECALL, recwire.recall)
        channel = exit_stack.enter_context(grpc.insecure_channel(server.address))
        contenders = recwire_contenders(recwire, channel) | rival_contenders(tuned, truth.queries)
        measured = measure(contenders, size.rounds, size.calls, size.warm_up_calls)
        flight = asyncio.run(recwire.fly(size.calls_in_flight, size.rounds))
        memory_bytes = {name: rival.memory_bytes() for name, rival in here.rivals.items()}
        memory_bytes[RECWIRE] = ServerProcesses(server.process.pid).memory_bytes()
    told = dict.fromkeys(measured, recwire.told()) | {name: one.told() for name, one in tuned.items()}
    return {
        "items": len(rows),
        "made_of": vectors.made_of,
        "users": size.users,
        "events_a_user": len(histories[0]),
        "limit": K,
        "seed": SEED,
        "server_cores": 1,
        "recall_target": RECALL,
        "method": recwire.method,
        "reason": recwire.reason,
        "max_score_difference": recwire.max_score_difference,
        "contenders": {name: {**told[name], **asdict(one)} for name, one in measured.items()},
        "build_s": {name: round(took_s, 1) for name, took_s in build_s.items()},
        "memory_bytes": memory_bytes,
        "sweeps": {name: [asdict(step) for step in steps] for name, steps in sweeps.items()},
        "calls_in_flight": IN_FLIGHT,
        "in_flight": asdict(flight),
        "promises": [asdict(promise) for promise in promises(measured)],
        "not_measured": here.not_measured,
    }


def promises(measured: Mapping[str, Measurement]) -> list[Promise]:
    """Return what is promised of those that were measured."""
    recwire = measured[RECWIRE]
    found = []
    if limit := measured.get(as_good(RAW)):
        found.append(cpu_promise(f"CPU: recwire / {as_good(RAW)}", "<=", 1.6, recwire, limit))
    for name, least_ratio in ((PGVECTOR, 3.0), (CHROMA, 3.0), (as_good(REDIS), 1.0)):
        if rival := measured.get(name):
            found.append(p50_promise(f"p50: {name} / recwire", ">=", least_ratio, rival, recwire))
    return found
