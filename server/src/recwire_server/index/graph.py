"""An HNSW graph of rows."""

import logging
from typing import Any

import hnswlib
import numpy as np

from recwire_server.index import Labels
from recwire_server.index.matrix import Matrix
from recwire_server.index.projection import Projection
from recwire_server.vector import Vector

logger = logging.getLogger(__name__)

M = 16  # links a node; hnswlib's own default, enough for a few hundred dimensions
EF_CONSTRUCTION = 200  # hnswlib's own default; more costs build time and gains little recall
ROWS_A_PROGRESS_LINE = 100_000
# What hnswlib keeps of a node beside its vector: links, label, lock, level, and the way from the label to it.
NODE_BYTES = 132 + 8 + 40 + 4 + 8 + 56


class Graph:
    """An hnswlib graph over those of the rows before `row_count` that were not removed when it was made; inner product.

    hnswlib must not be added to while it is searched, so a graph never grows. Belongs to the event loop once it
    serves: a search sets its width before it begins.

    hnsw: hnswlib.Index; its labels are row numbers. labels: (count,) ascending: the rows that it has.
    """

    def __init__(self, hnsw: Any, labels: Labels, row_count: int) -> None:
        self.hnsw = hnsw
        self.labels = labels
        self.row_count = row_count

    @classmethod
    def build(cls, matrix: Matrix, projection: Projection, *, thread_count: int, seed: int) -> "Graph":
        """Return a graph over the rows of now. Slow; nobody may add or remove rows meanwhile."""
        labels = matrix.live_labels()
        hnsw = hnswlib.Index(space="ip", dim=projection.short_dim)
        hnsw.init_index(max_elements=max(len(labels), 1), M=M, ef_construction=EF_CONSTRUCTION, random_seed=seed)
        for first, rows in matrix.pieces():
            live = matrix.live(slice(first, first + len(rows)))
            hnsw.add_items(projection.map(rows[live]), np.flatnonzero(live) + first, num_threads=thread_count)
            if first % ROWS_A_PROGRESS_LINE < len(rows):
                logger.info("%d of %d rows are in the graph", first + len(rows), matrix.row_count)
        return cls(hnsw, labels, matrix.row_count)

    @property
    def memory_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.labels) * (4 * int(self.hnsw.dim) + NODE_BYTES)

    def nearest(self, short_query: Vector, k: int, ef_search: int) -> Labels | None:
        """Return the labels of the k nearest, nearest first; None if it cannot reach so many."""
        self.hnsw.set_ef(max(ef_search, k))
        try:
            labels, _ = self.hnsw.knn_query(short_query, k, num_threads=1)
        except RuntimeError:  # fewer than k are reachable: rows were removed
            return None
        found: Labels = labels[0].astype(np.int64)
        return found

    def remove(self, labels: Labels) -> None:
        """Keep those of the rows that the graph has out of its searches; each at most once."""
        places = np.searchsorted(self.labels, labels)
        has = places < len(self.labels)
        has[has] = self.labels[places[has]] == labels[has]
        for label in labels[has].tolist():
            self.hnsw.mark_deleted(label)
