"""Indexes of rows as a catalogue's lie, saved and loaded."""

from pathlib import Path

import numpy as np

from recwire_server.index import snapshot
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.mixture import mixtures
from recwire_server.index.sealed import BuildRules, SearchMethod
from recwire_server.index.snapshot import Draft

DIM = 48
ROWS = 6_000
RECALL_TARGET = 0.95
METHODS = [SearchMethod.SCAN, SearchMethod.GRAPH]
NO_USERS = np.zeros((0, DIM), np.float32)


def make_rows() -> np.ndarray:
    """Return (ROWS, DIM) unit vectors around 60 centres in 20 dimensions, as a catalogue's lie around its topics."""
    random = np.random.default_rng(1)
    latent = random.normal(size=(60, 20))[random.integers(60, size=ROWS)] + 0.7 * random.normal(size=(ROWS, 20))
    vectors = latent @ random.normal(size=(20, DIM)) + 0.5 * random.normal(size=(ROWS, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def queries(rows: np.ndarray, name: str) -> np.ndarray:
    """Return (count, DIM) of a kind, other ones than calibration takes."""
    return mixtures(rows, np.random.default_rng(99))[name].astype(np.float64)


def rules(method: SearchMethod) -> BuildRules:
    """Return how an index is made that is searched by this method."""
    return BuildRules(recall_target=RECALL_TARGET, method=method, graph_min_rows=0, thread_count=2)


def keys(count: int = ROWS) -> list[tuple[str, int]]:
    """Return what each row is."""
    return [(str(label), 1) for label in range(count)]


def save(folder: Path, rows: np.ndarray, method: SearchMethod) -> None:
    """Save an index of the rows as generation 1, some of its rows spilled early, as a build does."""
    index, draft = AdaptiveIndex(DIM), Draft(folder, 1, "plain")
    for first in range(0, len(rows), 1_000):
        index.add(rows[first : first + 1_000])
        if first % 2_000:
            draft.spill(index)
    index.adopt(index.sealed_anew(rules(method), NO_USERS))
    draft.save(index, keys(len(rows)))


def load(folder: Path) -> AdaptiveIndex:
    """Return the index that is saved in a folder."""
    found = snapshot.load(folder, 1, DIM, "plain")
    assert found is not None
    index = AdaptiveIndex(DIM)
    found.map_rows(index)
    index.adopt(found.sealed(index))
    return index
