"""smoke: the three calls on an imported catalogue, one at a time, beside the limit of each.

- Embed of one text, beside the encoder called in this process.
- UpdateUser of one event on an item, beside an append and fdatasync of as many bytes in the same directory.
- Recommend of 10 for a stored user, beside the same search of the same vectors called in this process.
"""

import random
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np
from rich.table import Table

from benchmarks.measurement import Contender, measure
from benchmarks.served import TEXT, Served, append_and_fdatasync, data, default_encoder, import_data, served
from benchmarks.table import calls_table
from recwire import Client, Event
from recwire_server.encoder import Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.sealed import BuildRules
from recwire_server.setting_source import load_settings

SEED = 7
ROUNDS, CALLS, WARM_UP_CALLS = 5, 200, 50
UNCACHED = ("--embedding-cache-bytes", "0")  # the same text again and again would not reach the model
EVENT_BYTES = 200  # what an event on an item takes in the log, about


class Result(TypedDict):
    """What is kept, ready for JSON; calls: a measurement by contender, as `measurement.Measurement` has it."""

    data: str
    items: int
    users: int
    model: str
    seed: int
    calls: dict[str, dict[str, Any]]
    p50_ratio_to_limit: dict[str, float]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer calls."""
    files = data()
    with TemporaryDirectory(prefix="recwire-smoke-") as folder, served(Path(folder) / "data", *UNCACHED) as server:
        import_data(files, server.address)
        with Client(server.address) as client:
            info = client.get_server_info()
            contenders = _contenders(client, server, Path(folder))
            calls = CALLS // 4 if quick else CALLS
            measured = measure(contenders, ROUNDS, calls, WARM_UP_CALLS)
    ratio = {
        name: round(measured[name].p50_ms / measured[limit].p50_ms, 2)
        for name, limit in (("embed", "raw_encode"), ("update_user", "raw_fdatasync"), ("recommend", "raw_search"))
    }
    return {
        "data": files.name,
        "items": info.item_count,
        "users": info.user_count,
        "model": info.model.name,
        "seed": SEED,
        "calls": {name: asdict(measurement) for name, measurement in measured.items()},
        "p50_ratio_to_limit": ratio,
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    return calls_table("smoke", result)


def _contenders(client: Client, server: Served, folder: Path) -> dict[str, Contender]:
    chance = random.Random(SEED)
    item_ids = [item.item_id for item in client.list_items()]
    user_ids = [f"smoke-{number}" for number in range(100)]
    for user_id in user_ids:
        client.update_user(user_id, [Event(item_id=item_id) for item_id in chance.sample(item_ids, 20)])

    def update_user() -> object:
        return client.update_user(chance.choice(user_ids), [Event(item_id=chance.choice(item_ids))])

    return {
        "embed": Contender(lambda: client.embed([TEXT]), server.cpu_s),
        "raw_encode": Contender(_raw_encode(), time.process_time),
        "update_user": Contender(update_user, server.cpu_s),
        "raw_fdatasync": Contender(append_and_fdatasync(folder / "log", EVENT_BYTES), time.process_time),
        "recommend": Contender(lambda: client.recommend(chance.choice(user_ids)), server.cpu_s),
        "raw_search": Contender(_raw_search(client, item_ids), time.process_time),
    }


def _raw_encode() -> Callable[[], object]:
    """Return the encoding of the same text in this process."""
    encoder = default_encoder()
    return lambda: encode(encoder, [TEXT], Purpose.QUERY)


def _raw_search(client: Client, item_ids: list[str]) -> Callable[[], object]:
    """Return a search by a mean of 20 vectors in an index of as many vectors, made of random directions around as many
    centres as there are topics in a catalogue: the server gives no item's vector away."""
    dim = client.get_server_info().dimension
    random_vectors = np.random.default_rng(SEED)
    centres = random_vectors.normal(size=(100, dim))
    rows = centres[random_vectors.integers(100, size=len(item_ids))] + random_vectors.normal(size=(len(item_ids), dim))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    index = AdaptiveIndex(dim)
    index.add(rows)
    if len(rows) > load_settings({}).exact_search_max_items:
        index.adopt(index.sealed_anew(BuildRules(), np.zeros((0, dim), np.float32)))
    queries = rows[random_vectors.integers(len(rows), size=(100, 20))].mean(axis=1).astype(np.float64)
    return lambda: index.search(queries[random_vectors.integers(100)], 30)
