"""recwire and its rivals, ready to be timed."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import grpc

from benchmarks.filled_server import fill
from benchmarks.flight import Calls, Flight, fly
from benchmarks.measurement import Contender
from benchmarks.rivals.contender import RAW, REDIS
from benchmarks.rivals.rival import Rival
from benchmarks.rivals.truth import Asked, K, Truth
from benchmarks.rivals.tuning import Step, least
from benchmarks.served import Served
from recwire import Client
from recwire.v1.recommender_service_pb2 import RecommendRequest
from recwire_server.vector import Vectors

SEED = 7
RECOMMEND = "/recwire.v1.RecommenderService/Recommend"
RECWIRE, CLIENT = "recwire", "recwire.Client"


@dataclass(frozen=True)
class Recwire:
    """recwire's server with items and users. recall: of what it recommends. max_score_difference: of a score in its
    answers from the inner product of the user's and the item's vector."""

    server: Served
    client: Client
    user_count: int
    method: str
    reason: str
    recall: float
    max_score_difference: float

    def told(self) -> dict[str, Any]:
        """Return what a result has of it beside the times."""
        return {"version": f"recwire-server {version('recwire-server')}", "recall": self.recall}

    async def fly(self, calls: int, rounds: int) -> Flight:
        """Return what many calls at a time come to."""
        users = _places(self.user_count)
        calls_a_round = Calls(RECOMMEND, lambda: [_request(next(users)) for _ in range(calls)])
        return (await fly(self.server, {RECWIRE: calls_a_round}, rounds))[RECWIRE]


@dataclass(frozen=True)
class Tuned:
    """A rival, at the effort that it is measured with."""

    rival: Rival
    step: Step

    def told(self) -> dict[str, Any]:
        """Return what a result has of it beside the times."""
        kept = {name: getattr(self.rival, name) for name in ("version", "where", "knob")}
        return {**kept, "effort": self.step.effort, "recall": self.step.recall}


def filled(server: Served, client: Client, rows: Vectors, truth: Truth) -> Recwire:
    """Give a server the items, and users with the histories that the queries are made of."""
    info = fill(client, rows, [query.seen for query in truth.queries])
    found, differences = [], []
    for user, query in enumerate(truth.queries):
        answer = client.recommend(str(user), limit=K).recommendations
        found.append([int(one.item_id) for one in answer])
        differences += [abs(one.score - float(rows[int(one.item_id)] @ query.vector)) for one in answer]
    recall, most = round(truth.recall(found), 4), float(f"{max(differences):.1e}")
    return Recwire(server, client, len(found), info.index.method, info.index.reason, recall, most)


def tune(
    rivals: Mapping[str, Rival], sweeps: Mapping[str, Sequence[Step]], recall: float, recwires_recall: float
) -> dict[str, Tuned]:
    """Return the contenders by name: each rival with the least effort that has the recall, the limit and Redis that
    which has recwire's."""
    tuned = {name: Tuned(rival, least(sweeps[name], recall)) for name, rival in rivals.items() if name != RAW}
    as_good_ones = {
        name: Tuned(rivals[name], least(sweeps[name], recwires_recall)) for name in rivals if name in (RAW, REDIS)
    }
    return tuned | {as_good(name): one for name, one in as_good_ones.items()}


def as_good(name: str) -> str:
    """Return the name of a contender that finds what recwire finds, at least."""
    return f"{name}, recwire's recall"


def recwire_contenders(recwire: Recwire, channel: grpc.Channel) -> dict[str, Contender]:
    """Return Recommend on the raw channel, with requests that were serialized before, and as a user calls it."""
    call = channel.unary_unary(RECOMMEND)
    requests = [_request(user) for user in range(recwire.user_count)]
    raw_users, users = _places(recwire.user_count), _places(recwire.user_count)
    return {
        RECWIRE: Contender(lambda: call(requests[next(raw_users)]), recwire.server.threads_cpu_s),
        CLIENT: Contender(lambda: recwire.client.recommend(str(next(users))), recwire.server.threads_cpu_s),
    }


def rival_contenders(tuned: Mapping[str, Tuned], queries: Sequence[Asked]) -> dict[str, Contender]:
    """Return the searches of rivals, each with its own effort."""
    return {name: _rival_contender(one.rival, one.step.effort, queries) for name, one in tuned.items()}


def _rival_contender(rival: Rival, effort: int, queries: Sequence[Asked]) -> Contender:
    places = _places(len(queries))

    def search() -> list[int]:
        query = queries[next(places)]
        return rival.search(query.vector, query.seen, K)

    return Contender(search, rival.cpu_s, prepare=lambda: rival.set_effort(effort))


def _places(count: int) -> Iterator[int]:
    """Yield places of users; the same for all contenders."""
    chance = random.Random(SEED)
    while True:
        yield chance.randrange(count)


def _request(user: int) -> bytes:
    return RecommendRequest(user_id=str(user)).SerializeToString()
