"""freshness: from an event that is sent to an answer that reflects it, beside a write that the disk has.

20,000 items, users with 50 events on items of five topics; each call brings an event of one of them, and the ten
nearest items that the user has not seen then. `one call`: UpdateUser that answers. `two calls`:
UpdateUser, then Recommend with the revision. `pgvector`: one transaction, in one round trip, that inserts the event,
adds the item's vector to the user's and selects the ten. `fdatasync`: as many bytes appended and synced. Each on the
same disk; each server on one core, the client on another. Each event is on one of the ten of the answer before, and
every answer is checked: neither that item nor another that was seen is in it, and its scores are those of the user's
vector with the event.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np
from rich.console import Group
from rich.table import Table

from benchmarks.filled_server import Serve, fill, mean_vector, serve_default, settings_for
from benchmarks.made_vectors import MadeVectors, default_vectors, topical_histories
from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.promise import Promise, p50_promise, promise_table
from benchmarks.rivals.contender import PGVECTOR, Opener, build, opened
from benchmarks.rivals.postgres import Postgres, postgres
from benchmarks.rivals.truth import Asked, K, Truth
from benchmarks.rivals.tuning import least, sweep
from benchmarks.served import append_and_fdatasync, pinned
from recwire import Client, Event, RecommendOptions
from recwire.v1.recommendation_pb2 import RecommendResponse
from recwire.v1.recommender_service_pb2 import RecommendRequest, UpdateUserRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.vector import Vectors

SEED = 7
RECALL = 0.95
SAME_SCORE = 1e-4  # sums of some sixty vectors in float32 differ by less
ONE_CALL, TWO_CALLS, FDATASYNC = "recwire, one call", "recwire, two calls", "fdatasync"

Answer = list[tuple[int, float]]
"""Items and their scores, best first."""

Respond = Callable[[int, int], Answer]
"""Sends an event of a user on an item; returns the answer."""


@dataclass(frozen=True)
class Size:
    """How much is measured. made_items: of which `items` are the first, so that `recommend` can have the same."""

    items: int = 20_000
    made_items: int = 100_000
    encoded_items: int = 20_000
    users: int = 100
    rounds: int = 15
    calls: int = 100
    warm_up_calls: int = 100


QUICK = Size(items=5_000, made_items=5_000, encoded_items=1_000, users=50, rounds=3, calls=40, warm_up_calls=20)


class Result(TypedDict):
    """What is kept, ready for JSON.

    contenders: by name, a `measurement.Measurement`; of those that answer `reflected_share`, of the answers that
    reflect their event, and `recall`. pgvector: version, knob and effort, where it is measured.
    """

    items: int
    made_of: str
    users: int
    seed: int
    server_cores: int
    method: str
    pgvector: dict[str, Any]
    contenders: dict[str, dict[str, Any]]
    promises: list[dict[str, Any]]
    not_measured: dict[str, str]


class Visits:
    """Calls, each with an event on an item of the user's answer before, and what came of them.

    histories: of the users, by place.
    """

    def __init__(self, rows: Vectors, histories: Sequence[Sequence[int]], respond: Respond) -> None:
        self._rows = rows
        self._histories = [list(history) for history in histories]
        self._respond = respond
        self._chance = random.Random(SEED)
        self._offered: dict[int, Answer] = {}
        self._sent: list[tuple[int, int, Answer]] = []

    def visit(self) -> None:
        """Send an event; keep the answer."""
        user = self._chance.randrange(len(self._histories))
        offered = self._offered.get(user)
        item = self._chance.choice(offered)[0] if offered else self._chance.choice(self._histories[user])
        answer = self._offered[user] = self._respond(user, item)
        self._sent.append((user, item, answer))

    def checked(self) -> dict[str, float]:
        """Return the share of the answers that reflect their event, and the recall."""
        asked = []
        for user, item, _ in self._sent:
            self._histories[user].append(item)
            seen = list(self._histories[user])
            asked.append(Asked(mean_vector(self._rows, seen), seen))
        answers = [answer for _, _, answer in self._sent]
        reflected = [self._reflects(answer, query) for answer, query in zip(answers, asked, strict=True)]
        recall = Truth(self._rows, asked).recall([[item for item, _ in answer] for answer in answers])
        return {"reflected_share": float(np.mean(reflected)), "recall": round(recall, 4)}

    def _reflects(self, answer: Answer, query: Asked) -> bool:
        """Return whether nothing in an answer was seen, and its scores are those of the user's vector."""
        items = [item for item, _ in answer]
        scores = np.array([score for _, score in answer])
        differences = np.abs(self._rows[items] @ query.vector - scores)
        return bool(items) and not set(items) & set(query.seen) and float(differences.max()) < SAME_SCORE


def run(quick: bool) -> Result:
    """Return the result. quick: fewer items and calls."""
    size = QUICK if quick else Size()
    made = default_vectors(size.made_items, size.encoded_items)
    vectors = MadeVectors(made.rows[: size.items], f"the first {size.items:,} of: {made.made_of}")
    return compare(vectors, size, serve_default, {PGVECTOR: postgres})


def compare(vectors: MadeVectors, size: Size, serve: Serve, openers: Mapping[str, Opener[Postgres]]) -> Result:
    """Return how long recwire, PostgreSQL and the disk take on these vectors."""
    rows = vectors.rows
    histories = topical_histories(rows, size.users, np.random.default_rng(SEED))
    cores = sorted(os.sched_getaffinity(0))
    with (
        TemporaryDirectory(prefix="recwire-freshness-") as folder,
        opened(Path(folder), openers) as here,
        ExitStack() as exit_stack,
    ):
        for rival in here.rivals.values():
            build(rival, rows, cores[0])
        with pinned(cores[0]):
            server = exit_stack.enter_context(serve(Path(folder) / "data", settings_for(len(rows))))
        exit_stack.enter_context(pinned(cores[-1]))
        with Client(server.address, timeout_s=60) as client:
            method = fill(client, rows, [*histories, *histories]).index.method
        recwire = RecommenderServiceStub(exit_stack.enter_context(grpc.insecure_channel(server.address)))
        responders = {ONE_CALL: _in_one_call(recwire), TWO_CALLS: _in_two_calls(recwire, first_user=size.users)}
        cpu_s = dict.fromkeys(responders, server.threads_cpu_s)
        pgvector: dict[str, Any] = {}
        if database := here.rivals.get(PGVECTOR):
            pgvector = _filled(database, rows, histories)
            responders[PGVECTOR] = lambda user, item: database.record_and_search(user, item, K)
            cpu_s[PGVECTOR] = database.cpu_s
        visits = {name: Visits(rows, histories, respond) for name, respond in responders.items()}
        contenders = {name: Contender(one.visit, cpu_s[name]) for name, one in visits.items()}
        sync = append_and_fdatasync(Path(folder) / "log", _update(0, 0).ByteSize())
        contenders[FDATASYNC] = Contender(sync, time.process_time)
        measured = measure(contenders, size.rounds, size.calls, size.warm_up_calls)
    checks = {name: one.checked() for name, one in visits.items()}
    return {
        "items": len(rows),
        "made_of": vectors.made_of,
        "users": size.users,
        "seed": SEED,
        "server_cores": 1,
        "method": method,
        "pgvector": pgvector,
        "contenders": {name: {**checks.get(name, {}), **asdict(one)} for name, one in measured.items()},
        "promises": [asdict(promise) for promise in promises(measured)],
        "not_measured": here.not_measured,
    }


def promises(measured: Mapping[str, Measurement]) -> list[Promise]:
    """Return what is promised of those that were measured."""
    one_call = measured[ONE_CALL]
    found = [p50_promise("p50: recwire, one call / fdatasync", "<", 3.0, one_call, measured[FDATASYNC])]
    if pgvector := measured.get(PGVECTOR):
        found.append(p50_promise("p50: pgvector / recwire, one call", ">=", 3.0, pgvector, one_call))
    return found


def table(result: Result) -> Group:
    """Return the figures for people."""
    title = f"freshness: event to answer, {result['items']:,} items, one core each"
    shown = Table("contender", "p50 ms", "p99 ms", "CPU ms", "recall@10", "reflected", title=title)
    for name, one in result["contenders"].items():
        times = (f"{one[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms"))
        checks = (f"{one[key]:.3f}" if key in one else "" for key in ("recall", "reflected_share"))
        shown.add_row(name, *times, *checks)
    for name, why in result["not_measured"].items():
        shown.add_row(name, f"not measured: {why}")
    return Group(shown, promise_table(result["promises"]))


def _in_one_call(recwire: RecommenderServiceStub) -> Respond:
    def respond(user: int, item: int) -> Answer:
        request = _update(user, item)
        request.recommend.limit = K
        return _answer(recwire.UpdateUser(request).recommendation)

    return respond


def _in_two_calls(recwire: RecommenderServiceStub, first_user: int) -> Respond:
    """first_user: whom the first of the users is for the server, so that these are others than those of one call."""

    def respond(user: int, item: int) -> Answer:
        revision = recwire.UpdateUser(_update(first_user + user, item)).revision
        options = RecommendOptions(limit=K)
        request = RecommendRequest(user_id=str(first_user + user), min_revision=revision, options=options)
        return _answer(recwire.Recommend(request))

    return respond


def _update(user: int, item: int) -> UpdateUserRequest:
    return UpdateUserRequest(user_id=str(user), events=[Event(item_id=str(item))])


def _answer(response: RecommendResponse) -> Answer:
    return [(int(one.item_id), one.score) for one in response.recommendations]


def _filled(database: Postgres, rows: Vectors, histories: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Give PostgreSQL the users, and the least effort that has the recall; return what it is then."""
    database.record_many([(user, item) for user, history in enumerate(histories) for item in history])
    queries = [Asked(mean_vector(rows, history), history) for history in histories]
    step = least(sweep(database, Truth(rows, queries), enough=RECALL), RECALL)
    database.set_effort(step.effort)
    return {"version": database.version, "knob": database.knob, "effort": step.effort}
