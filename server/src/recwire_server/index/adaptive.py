"""The index that serves: exact while it is small, then by codes, then by a graph, whichever costs least."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from math import ceil, sqrt
from pathlib import Path

import numpy as np

from recwire_server.column import Column
from recwire_server.index import Index, Labels, Matches, Near, Scores, code, exact
from recwire_server.index.calibration import K, least_true_scores
from recwire_server.index.code import Bias, CodedQuery, Segment
from recwire_server.index.matrix import Matrix
from recwire_server.index.projection import Projection
from recwire_server.index.sealed import BuildRules, Sealed, seal
from recwire_server.vector import Query, Vector, Vectors, length

NO_LABELS: Labels = np.zeros(0, np.int64)


class Method(StrEnum):
    """How the index is searched."""

    EXACT = "exact"  # every row is scored
    SCAN = "scan"  # all codes are scored, and the best rows of them
    GRAPH = "graph"  # an HNSW graph is walked, and the best rows of what it finds are scored


class AdaptiveIndex(Index):
    """An `Index` whose first rows are sealed: short vectors of them are searched, and what is near by these is scored
    exactly. Rows since are searched by codes of their own once they are many (`code_tail`), and until then scored.

    Sealing takes long and happens before the index serves; then nothing of it changes but which rows are removed.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._matrix = Matrix(dim)
        self._bias = Column(np.float32, 0)  # minus infinity for removed rows
        self._sealed: Sealed | None = None
        self._segments: list[Segment] = []
        self._foreign = NO_LABELS  # rows that only their scores find
        self._is_foreign = np.zeros(0, np.bool_)  # by label, of the rows that have codes

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def row_count(self) -> int:
        return self._matrix.row_count

    @property
    def sealed(self) -> Sealed | None:
        """What searches do not score row by row; None: they are exact."""
        return self._sealed

    @property
    def method(self) -> Method:
        """How it is searched."""
        if self._sealed is None:
            return Method.EXACT
        return Method.GRAPH if self._sealed.graph else Method.SCAN

    @property
    def unsealed_count(self) -> int:
        """Rows that came after it was sealed."""
        return self.row_count - (self._sealed.row_count if self._sealed else 0)

    @property
    def scored_count(self) -> int:
        """Rows that every search scores, for they have no codes yet."""
        return self.row_count - self._coded_count

    @property
    def foreign_count(self) -> int:
        """Rows that came after it was sealed and are unlike those before, so that every search scores them."""
        return len(self._foreign) - (sum(len(one.foreign) for one in self._sealed.segments) if self._sealed else 0)

    @property
    def next_memory_bytes(self) -> int:
        """What an index of the same rows takes while it is made, of the process's own memory, about."""
        recent_bytes = 4 * self.dim * (self.row_count - self._matrix.mapped_count)
        return self.memory_bytes - min(recent_bytes, self.memory_bytes) if self._sealed else 2 * self.memory_bytes

    @property
    def segment_count(self) -> int:
        """How many pieces the codes are in."""
        return len(self._segments)

    @property
    def memory_bytes(self) -> int:
        """What it takes of the process's own memory, about."""
        graph = self._sealed.graph if self._sealed else None
        coded = sum(segment.memory_bytes for segment in self._segments)
        rows = self._matrix.memory_bytes + int(self._bias.rows.nbytes)
        return int(rows + coded) + (graph.memory_bytes if graph else 0)

    @property
    def mapped_bytes(self) -> int:
        """What it maps of a file, which the operating system keeps in memory as it sees fit."""
        return 4 * self.dim * self._matrix.mapped_count

    def add(self, vectors: Vectors) -> Labels:
        labels = self._matrix.add(vectors)
        self._bias.reach(self.row_count)
        return labels

    def map_file(self, path: Path, row_count: int) -> None:
        """Have a file's rows as the first."""
        self._matrix.map_file(path, row_count)
        self._bias.reach(row_count)

    def spill(self, path: Path) -> None:
        """Move rows from memory to the end of a file; before the index serves."""
        self._matrix.spill(path)

    def remove(self, labels: Sequence[int] | Labels) -> None:
        removed = self._matrix.remove(labels)
        self._bias.rows[removed] = -np.inf
        if self._sealed and self._sealed.graph:
            self._sealed.graph.remove(removed)

    def vectors(self, labels: Labels | Sequence[int]) -> Vectors:
        return self._matrix.take(labels)

    def vector(self, label: int) -> Vector:
        return self._matrix.row(label)

    def live_labels(self) -> Labels:
        return self._matrix.live_labels()

    def search(self, query: Query, k: int, *, exact: bool = False) -> Matches:
        if exact or self._sealed is None or k == 0:
            return self._search_all(query, k)
        return self.best_near(self.near(query, k), query, k)

    def near(self, query: Query, k: int) -> Near:
        if self._sealed is None:
            return Near(NO_LABELS, exact.scan(self._matrix, query, 0, k))
        short_query = self._sealed.projection.map_query(query)
        width = self._width(k)
        placed, first_coded = self._search_graph(query, short_query, width)
        segments = [segment for segment in self._segments if segment.first >= first_coded]
        coded = NO_LABELS
        if segments:
            coded = code.nearest(segments, CodedQuery(short_query), width, self._bias.rows)
        unplaced = self._with_foreign(coded, self._bias.rows)
        if len(self._foreign):
            placed = placed[~self._is_foreign[placed]]
        if self.scored_count:
            unplaced = np.concatenate([unplaced, exact.scan(self._matrix, query, self._coded_count, k)])
        return Near(placed, unplaced)

    def best_near(self, near: Near, query: Query, k: int) -> Matches:
        placed = near.placed if self._sealed is None else near.placed[: self._width(k)]
        return self.best_of(np.concatenate([placed, near.unplaced]) if len(near.unplaced) else placed, query, k)

    def search_among(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        if self._sealed is None or k == 0:
            return self.best_of(labels, query, k, extra)
        is_coded = labels < self._coded_count
        coded, rest = labels[is_coded], labels[~is_coded]
        bias = np.full(self._coded_count, -np.inf, np.float32)
        bias[coded] = 0 if extra is None else extra[coded]
        coded_query = CodedQuery(self._sealed.projection.map_query(query))
        found = code.nearest(self._segments, coded_query, self._width(k), bias)
        return self.best_of(np.concatenate([self._with_foreign(found, bias), rest]), query, k, extra)

    def best_of(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        return exact.best_of(self._matrix, labels, query, k, extra)

    def search_cost_s(self, k: int) -> float:
        if self._sealed is None:
            return float("inf")
        wider = self._width(k) / self._sealed.calibration.width
        if self._sealed.graph and self._width(k) > len(self._sealed.graph.labels) // 2:
            return float("inf")
        return self._sealed.search_s * wider

    def among_cost_s(self) -> float:
        if self._sealed is None:
            return float("inf")
        calibration = self._sealed.calibration
        return calibration.scan_s * self.row_count / self._sealed.row_count + calibration.width * calibration.row_s

    def best_of_cost_s(self, row_count: int) -> float:
        return row_count * (self._sealed.calibration.row_s if self._sealed else 0.0)

    def codes(self, projection: Projection, row_count: int) -> list[Segment]:
        """Return the codes of the first rows. Slow."""
        return code.segments_of(self._matrix, projection, 0, row_count)

    def sealed_anew(self, rules: BuildRules, user_queries: Vectors) -> Sealed:
        """Return what searches the rows of now; see `seal`."""
        return seal(self._matrix, rules, user_queries)

    def adopt(self, sealed: Sealed) -> None:
        """Search by this from now on."""
        if sealed.graph:
            gone = sealed.graph.labels[~self._matrix.live(sealed.graph.labels)]
            sealed.graph.remove(gone)
        self._sealed = sealed
        self._adopt_segments(sealed.segments)

    def widen(self) -> bool:
        """Search wider from now on; return whether that was possible."""
        if self._sealed is None:
            return False
        wider = self._sealed.calibration.widened()
        changed = wider != self._sealed.calibration
        self._sealed = replace(self._sealed, calibration=wider)
        return changed

    def recall_of(self, found: Labels, query: Query, row_count: int) -> float:
        """Return the share of the ten nearest of the first rows that is among the labels found. Slow; safe on another
        thread while the index serves."""
        (least,) = self.least_of_nearest(query.astype(np.float32)[np.newaxis], row_count)
        return self.share_found(found, query, least)

    def least_of_nearest(self, queries: Vectors, row_count: int) -> Vector:
        """Return (count,) float32 what the ten nearest of the first rows to queries (count, dim) score at least."""
        return least_true_scores(self._matrix, queries, min(K, len(self)), row_count)

    def share_found(self, found: Labels, query: Query, least: float) -> float:
        """Return the share of the ten nearest rows that is among the labels found, given what these score at least."""
        hits = int((self._matrix.take(found) @ query.astype(np.float32) >= least).sum())
        return min(1.0, hits / max(min(K, len(self)), 1))

    def code_tail(self) -> list[Segment]:
        """Return codes of the rows that have none, together with small segments before them, so that there are never
        many. Slow; safe on another thread while the index serves."""
        assert self._sealed is not None, "without a projection there are no codes"
        first, row_count = self._coded_count, self.row_count
        for segment in reversed(self._segments):
            if segment.first < self._sealed.row_count or len(segment) > 2 * (row_count - first):
                break
            first = segment.first
        return code.segments_of(self._matrix, self._sealed.projection, first, row_count)

    def adopt_segments(self, segments: Sequence[Segment]) -> None:
        """Search rows by these codes from now on."""
        if segments:
            before = [one for one in self._segments if one.end <= segments[0].first]
            self._adopt_segments([*before, *segments])

    @property
    def _coded_count(self) -> int:
        return self._segments[-1].end if self._segments else 0

    def _width(self, k: int) -> int:
        """Return how many rows the short vectors are asked for: what they lose at the end of ten, they lose of more
        near the end only."""
        assert self._sealed is not None
        width = self._sealed.calibration.width
        return width if k <= K else k + ceil((width - K) * sqrt(k / K))

    def _search_all(self, query: Query, k: int) -> Matches:
        return exact.rescored(self._matrix, exact.scan(self._matrix, query, 0, k), query, k)

    def _search_graph(self, query: Query, short_query: Vector, width: int) -> tuple[Labels, int]:
        """Return what the graph finds, nearest first, and the first label that it does not have; nothing and 0 without
        one."""
        graph = self._sealed.graph if self._sealed else None
        if self._sealed is not None and graph is not None and width <= len(graph.labels) // 2:
            ef_search = self._sealed.calibration.ef_search(length(query))
            found = graph.nearest(short_query, width, ef_search)
            if found is not None:
                return found, graph.row_count
        return NO_LABELS, 0

    def _with_foreign(self, coded: Labels, bias: Bias) -> Labels:
        """Return what was found by codes, and the foreign rows that the bias lets in, each once."""
        if not len(self._foreign):
            return coded
        return np.concatenate([coded[~self._is_foreign[coded]], self._foreign[bias[self._foreign] > -np.inf]])

    def _adopt_segments(self, segments: Sequence[Segment]) -> None:
        self._segments = list(segments)
        self._foreign = np.concatenate([segment.foreign for segment in segments])
        self._is_foreign = np.zeros(self._coded_count, np.bool_)
        self._is_foreign[self._foreign] = True
