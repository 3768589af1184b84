"""An index that searches a graph, and scans what the graph does not have yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hnswlib
import numpy as np

from recwire_server.index import Labels, Matches, Scores
from recwire_server.index.calibration import Calibration, calibrate
from recwire_server.index.exact import ExactIndex
from recwire_server.vector import Query, Vectors

M = 16  # links a node; hnswlib's own default, enough for a few hundred dimensions
EF_CONSTRUCTION = 200  # hnswlib's own default; more costs build time and gains little recall


@dataclass(frozen=True)
class Graph:
    """An HNSW graph over the rows before `row_count`, and how wide it must be searched."""

    hnsw: Any  # hnswlib.Index; its labels are row numbers
    labels: Labels  # (count,) ascending: the rows it has
    row_count: int
    calibration: Calibration


class HnswIndex:
    """An `Index` on hnswlib, inner product.

    hnswlib must not be added to while it is searched. So a graph is built beside the serving one, on another thread
    (`build`), and swapped in (`adopt`); rows that came since are scanned. Searches are exact until the first graph.
    """

    def __init__(self, dim: int, recall_target: float) -> None:
        self.dim = dim
        self._recall_target = recall_target
        self._exact = ExactIndex(dim)
        self._graph: Graph | None = None

    def __len__(self) -> int:
        return len(self._exact)

    @property
    def calibration(self) -> Calibration | None:
        """How the graph is searched; None while searches are exact."""
        return self._graph.calibration if self._graph else None

    @property
    def row_count(self) -> int:
        """Rows ever added, removed ones too."""
        return self._exact.row_count

    @property
    def scanned_count(self) -> int:
        """Rows that every search scans, for the graph does not have them."""
        return self._exact.row_count - (self._graph.row_count if self._graph else 0)

    def add(self, vectors: Vectors) -> Labels:
        return self._exact.add(vectors)

    def remove(self, labels: Sequence[int]) -> None:
        alive = np.unique(np.asarray(labels, np.int64))
        alive = alive[self._exact.live(alive)]
        self._exact.remove(alive.tolist())
        if self._graph:
            _mark_deleted(self._graph, alive)

    def vectors(self, labels: Labels | Sequence[int]) -> Vectors:
        return self._exact.vectors(labels)

    def search(self, query: Query, k: int, *, exact: bool = False) -> Matches:
        if exact or self._graph is None or not self.is_quick(k):
            return self._exact.search(query, k)
        found = _search_graph(self._graph, query, k)
        if found is None:
            return self._exact.search(query, k)
        rest = self._exact.scan(query, self._graph.row_count, k)
        return self._exact.rescored(np.concatenate([found, rest]), query, k)

    def is_quick(self, k: int) -> bool:
        """Return whether a search for k rows does not scan all."""
        return self._graph is not None and k <= len(self._graph.labels) // 2

    def live_labels(self) -> Labels:
        return self._exact.live_labels()

    def best_of(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        return self._exact.best_of(labels, query, k, extra)

    def build(self, thread_count: int, seed: int = 0) -> Graph:
        """Return a graph over the rows of now, calibrated. Slow; safe on another thread while this index serves."""
        rows, live = self._exact.sealed_rows()
        labels = np.flatnonzero(live)
        hnsw = hnswlib.Index(space="ip", dim=self.dim)
        hnsw.init_index(max_elements=max(len(labels), 1), M=M, ef_construction=EF_CONSTRUCTION, random_seed=seed)
        hnsw.add_items(rows[labels], labels, num_threads=thread_count)
        return Graph(hnsw, labels, len(rows), calibrate(hnsw, rows[labels], self._recall_target, seed))

    def adopt(self, graph: Graph) -> None:
        """Search this graph from now on."""
        _mark_deleted(graph, graph.labels[~self._exact.live(graph.labels)])
        self._graph = graph


def _search_graph(graph: Graph, query: Query, k: int) -> Labels | None:
    """Return the k nearest labels of the graph; None if it cannot reach so many."""
    graph.hnsw.set_ef(max(graph.calibration.ef_search, k))
    try:
        labels, _ = graph.hnsw.knn_query(query.astype(np.float32), k, num_threads=1)
    except RuntimeError:  # fewer than k are reachable: rows were removed
        return None
    found: Labels = labels[0].astype(np.int64)
    return found


def _mark_deleted(graph: Graph, labels: Labels) -> None:
    """Keep those of the rows that the graph has out of its searches."""
    places = np.searchsorted(graph.labels, labels)
    has = places < len(graph.labels)
    has[has] = graph.labels[places[has]] == labels[has]
    for label in labels[has].tolist():
        graph.hnsw.mark_deleted(label)
