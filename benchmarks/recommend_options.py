"""recommend_options: what exclusion, filters, diversity, boosts and exact search add to Recommend on 100,000 items.

Each call is for one of 100 stored users with 100 events on items of three topics. The limit of a call is the plain
one: seen items let in, no filter. The server's CPU counts. Vectors are made: 24 dimensions that topics differ in,
spread over as many as the model has, and noise. `filter_50` .. `filter_01` pass 50, 10, 1 and .1 % of the items,
`filter_topic` the items of one topic of twenty, which most users are not interested in.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.measurement import Contender, measure
from benchmarks.served import Served, served, settled
from benchmarks.table import calls_table
from recwire import (
    AttributeValue,
    Boost,
    Client,
    Condition,
    Event,
    Filter,
    Item,
    NumberRange,
    SeenPolicy,
    StringSet,
    to_bytes,
)

SEED = 7
ITEM_COUNT, USER_COUNT, EVENTS_A_USER = 100_000, 100, 100
TOPICS, TOPICS_A_USER, TOPIC_DIMS = 20, 3, 24
ROUNDS, CALLS, WARM_UP_CALLS = 15, 100, 50
SHARES = {"filter_50": 0.5, "filter_10": 0.1, "filter_1": 0.01, "filter_01": 0.001}
INCLUDE = SeenPolicy.SEEN_POLICY_INCLUDE


class Result(TypedDict):
    """What is kept, ready for JSON; calls: a measurement by contender, as `measurement.Measurement` has it."""

    model: str
    items: int
    events_a_user: int
    method: str
    reason: str
    ef_search: int
    recall: float
    seed: int
    calls: dict[str, dict[str, Any]]
    cpu_ratio_to_limit: dict[str, float]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer items and calls."""
    item_count = ITEM_COUNT // 10 if quick else ITEM_COUNT
    # One graph, over all items, when they are all in: each that is built on the way would take as long.
    flags = ("--exact-search-max-items", str(item_count - 1))
    with (
        TemporaryDirectory(prefix="recwire-recommend-options-") as folder,
        served(Path(folder) / "data", *flags) as server,
        Client(server.address, timeout_s=60) as client,
    ):
        topics = np.random.default_rng(SEED).integers(TOPICS, size=item_count)
        for _ in client.import_items(_items(topics, client.get_server_info().dimension)):
            pass
        settled(client)
        _record_events(client, topics)
        info = client.get_server_info()
        measured = measure(_contenders(client, server), ROUNDS, CALLS // 4 if quick else CALLS, WARM_UP_CALLS)
    plain_ms = measured["plain"].cpu_ms
    return {
        "model": info.model.name,
        "items": item_count,
        "events_a_user": EVENTS_A_USER,
        "method": info.index.method,
        "reason": info.index.reason,
        "ef_search": info.ef_search,
        "recall": info.measured_recall,
        "seed": SEED,
        "calls": {name: asdict(measurement) for name, measurement in measured.items()},
        "cpu_ratio_to_limit": {name: round(one.cpu_ms / plain_ms, 3) for name, one in measured.items()},
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    return calls_table("recommend_options", result)


def _items(topics: NDArray[np.int64], dim: int) -> Iterator[Item]:
    chance = np.random.default_rng(SEED)
    centres = chance.normal(size=(TOPICS, TOPIC_DIMS))
    spread = chance.normal(size=(TOPIC_DIMS, dim))
    for number, topic in enumerate(topics.tolist()):
        latent = centres[topic] + 0.8 * chance.normal(size=TOPIC_DIMS)
        vector = latent @ spread + 0.3 * chance.normal(size=dim)
        attributes = {
            "place": AttributeValue(number=chance.random()),
            "topic": AttributeValue(text=f"t{topic}"),
        }
        yield Item(
            item_id=str(number), vector=to_bytes(vector / np.linalg.norm(vector)), title="", attributes=attributes
        )


def _record_events(client: Client, topics: NDArray[np.int64]) -> None:
    chance = random.Random(SEED)
    by_topic = [np.flatnonzero(topics == topic).tolist() for topic in range(TOPICS)]
    for user in range(USER_COUNT):
        liked = [number for topic in chance.sample(range(TOPICS), TOPICS_A_USER) for number in by_topic[topic]]
        events = [Event(item_id=str(number)) for number in chance.sample(liked, EVENTS_A_USER)]
        client.update_user(str(user), events)


def _contenders(client: Client, server: Served) -> dict[str, Contender]:
    chance = random.Random(SEED)

    def asking(**options: Any) -> Contender:
        def call() -> object:
            return client.recommend(str(chance.randrange(USER_COUNT)), **options)

        return Contender(call, server.threads_cpu_s)

    def topic() -> Condition:
        return Condition(attribute="topic", any_of=StringSet(values=["t3"]))

    return {
        "plain": asking(seen=INCLUDE),
        "exclude_seen": asking(),
        **{name: asking(seen=INCLUDE, filter=Filter(must=[_below(share)])) for name, share in SHARES.items()},
        "filter_topic": asking(seen=INCLUDE, filter=Filter(must=[topic()])),
        "diversity": asking(seen=INCLUDE, diversity=0.5),
        "boost": asking(seen=INCLUDE, boosts=[Boost(when=topic(), add=0.1)]),
        "explain": asking(seen=INCLUDE, explain=True),
        "exact": asking(seen=INCLUDE, exact=True),
    }


def _below(share: float) -> Condition:
    return Condition(attribute="place", range=NumberRange(lt=share))
