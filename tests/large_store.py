"""A data directory with many items and users, written by the store alone: a server takes minutes for so many."""

import asyncio
import random
import time
from pathlib import Path

import numpy as np

from recwire_server.encoder import Encoder
from recwire_server.event import Event, EventType
from recwire_server.item import EmbeddedItem, Item
from recwire_server.store.sqlite import SqliteStore
from recwire_server.vector import Vector

EVENTS_A_USER = 10
LATENT_DIMS = 8


async def write_items_and_users(data_dir: Path, encoder: Encoder, count: int) -> None:
    """Write so many items, `v0` and on, and as many users with ten events each on them."""
    model = encoder.model
    store = SqliteStore(data_dir, dim=encoder.dim, model_name=model.name, model_version=model.version)
    await store.start()
    random_vectors = np.random.default_rng(1)  # of few dimensions: a graph of random ones in all takes minutes
    spread = random_vectors.standard_normal((LATENT_DIMS, encoder.dim))
    vectors = (random_vectors.standard_normal((count, LATENT_DIMS)) @ spread).astype(np.float32)
    await store.put_items([_item(f"v{n}", vector) for n, vector in enumerate(vectors)], time_ns=1)
    chance = random.Random(1)
    for first in range(0, count, 1_000):
        users = range(first, min(count, first + 1_000))
        await asyncio.gather(*(store.append_events(f"user{user}", _events(count, chance)) for user in users))
    await store.close()


def _item(item_id: str, vector: Vector) -> EmbeddedItem:
    return EmbeddedItem(Item(item_id, "", (), {}, vector, None, None), vector)


def _events(item_count: int, chance: random.Random) -> list[Event]:
    now_ns = time.time_ns()
    item_ids = (f"v{chance.randrange(item_count)}" for _ in range(EVENTS_A_USER))
    return [
        Event(str(n), item_id, None, None, EventType.VIEW, None, now_ns, now_ns, "")
        for n, item_id in enumerate(item_ids)
    ]
