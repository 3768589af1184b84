"""Data directories to be backed up, checked and damaged: with users, and a graph where that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from waiting import wait_until

from recwire import Client, Event, Item, to_bytes
from recwire.v1.admin_service_pb2 import GetServerInfoResponse
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

DIM = HashEncoder().dim
GRAPH_FROM = 200  # items
WITH_GRAPH = {"exact_search_max_items": GRAPH_FROM, "search_method": "graph", "graph_min_items": GRAPH_FROM}


@contextmanager
def serving(data_dir: Path, **settings: object) -> Iterator[Client]:
    """Run a server with a hash encoder on the directory for the length of the block."""
    flags = {"listen": "127.0.0.1:0", "data_dir": data_dir, **WITH_GRAPH, **settings}
    with running_server(load_settings(flags), HashEncoder()) as address, Client(address) as client:
        yield client


def vectors(count: int, seed: int) -> list[bytes]:
    """Return vectors as clients send them."""
    return [to_bytes(vector) for vector in np.random.default_rng(seed).normal(size=(count, DIM))]


def filled(data_dir: Path, item_count: int) -> Path:
    """Make a data directory of a server that has ended; return it."""
    with serving(data_dir) as client:
        fill(client, item_count)
    return data_dir


def fill(client: Client, item_count: int) -> None:
    """Write items with texts and with vectors, and 20 users; then change and delete some, once a graph is there."""
    items = [
        Item(item_id=f"i{n}", title=f"title {n} {n % 7}") if n % 3 else Item(item_id=f"i{n}", vector=vector)
        for n, vector in enumerate(vectors(item_count, 1))
    ]
    list(client.import_items(items))
    for n in range(20):
        events = [Event(event_id=f"e{m}", item_id=f"i{(7 * n + 11 * m) % item_count}") for m in range(1 + n % 4)]
        client.update_user(f"u{n}", [*events, Event(event_id="text", text=f"title {n}")])
    if item_count > GRAPH_FROM:
        wait_until(client, lambda: client.get_server_info().ef_search > 0)
    client.upsert_items([Item(item_id="i1", title="another title"), Item(item_id="new", title="title 3")])
    client.delete_items(["i2", "i5"])
    client.forget_events("u3", ["e1"])


def everything(client: Client) -> list[Message]:
    """Return the answers to all kinds of questions."""
    info = lasting(client.get_server_info())
    users = [f"u{n}" for n in range(20)]
    targets = [*({"user_id": user} for user in [*users, "nobody"]), {"text": "title 4"}, {"item_id": "i1"}]
    targets += [{"vector": vector} for vector in vectors(10, 2)]
    return [
        info,
        *(client.get_user(user) for user in users),
        *client.list_items(),
        *(client.recommend(**target, limit=10, explain=True, include_items=True) for target in targets),
    ]


def lasting(info: GetServerInfoResponse) -> GetServerInfoResponse:
    """Return what a server tells of itself without what differs from start to start."""
    for field in ("start_time", "embedding_cache", "memory"):
        info.ClearField(field)
    for field in ("live_recall", "live_sample_count", "row_count", "removed_row_count", "scored_row_count"):
        info.index.ClearField(field)  # a start makes rows anew
    return info
