"""recwire's server with a catalogue of given vectors and stored users."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from benchmarks.served import PATIENT, Served, served, settled
from recwire import Client, Event, Item, to_bytes
from recwire.v1.admin_service_pb2 import GetServerInfoResponse
from recwire_server.vector import Vectors

Serve = Callable[[Path, Mapping[str, object]], AbstractContextManager[Served]]
"""Runs a server on a data directory, with settings by their names, for the length of a block."""


def serve_default(data_dir: Path, settings: Mapping[str, object]) -> AbstractContextManager[Served]:
    """Run a server with the default model; its log lies beside the data directory."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return served(data_dir, *flags, *PATIENT, log=data_dir.with_suffix(".log"))


def settings_for(item_count: int) -> dict[str, object]:
    """Return the settings for a catalogue whose vectors are centred already, and which is indexed once, when it is
    complete: what is indexed on the way would take as long."""
    return {"vector_space": "plain", "exact_search_max_items": item_count - 1}


def fill(client: Client, rows: Vectors, histories: Sequence[Sequence[int]]) -> GetServerInfoResponse:
    """Import items, which are named by their row, and record what users, named by their place, did; return the
    server's state once the index is there and the users are in memory."""
    for _ in client.import_items(Item(item_id=str(row), vector=to_bytes(vector)) for row, vector in enumerate(rows)):
        pass
    settled(client)
    for user, history in enumerate(histories):
        client.update_user(str(user), [Event(item_id=str(row)) for row in history])
        client.recommend(str(user), limit=1)
    return client.get_server_info()


def mean_vector(rows: Vectors, history: Sequence[int]) -> Vectors:
    """Return the vector (dim,) of a user with such a history, as the server computes it."""
    mean: Vectors = rows[history].astype(np.float64).mean(axis=0).astype(np.float32)
    return mean
