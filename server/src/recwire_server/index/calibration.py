"""How wide an index must be searched to find the share of true neighbours that is promised, and what that costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from recwire_server.index import Labels, code
from recwire_server.index.code import Bias, CodedQuery, Segment
from recwire_server.index.graph import Graph
from recwire_server.index.matrix import Matrix
from recwire_server.index.projection import Projection
from recwire_server.vector import Vector, Vectors

K = 10  # recall is promised for the first ten
# Scores are told apart down to here: products in float32 err less.
TIE = 1e-6
# A recall measured on some queries is believed less by so many standard errors: others find as much in 14 of 15 cases.
STANDARD_ERRORS = 1.5
WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512)
EF_LADDER = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
# Queries are told apart by length: those that lie between topics are short, and need a wider search.
LENGTH_CLASSES = 3
KIND_SHARE = 0.05  # a kind of query belongs to a class if so many of its queries do

Find = Callable[[Vector], Labels]
"""Returns what a search of the short vectors finds for a short query."""


@dataclass(frozen=True)
class Step:
    """The ef of the graph's searches for queries (dim,) up to a length."""

    max_length: float
    ef_search: int


@dataclass(frozen=True)
class Calibration:
    """How the index is searched, and what was measured of it.

    width: rows that the short vectors are asked for, where ten are wanted. steps: by length, ascending; none without a
    graph. scan_recall, graph_recall: by kind of query. scan_s, graph_s: CPU seconds of a search by codes, and by the
    graph; row_s: of scoring one more row exactly.
    """

    width: int
    steps: tuple[Step, ...] = ()
    scan_recall: Mapping[str, float] = field(default_factory=dict)
    graph_recall: Mapping[str, float] = field(default_factory=dict)
    scan_s: float = 0.0
    graph_s: float = 0.0
    row_s: float = 0.0

    @property
    def max_ef_search(self) -> int:
        """The ef of the queries that need the most; 0 without a graph."""
        return max((step.ef_search for step in self.steps), default=0)

    def widened(self) -> "Calibration":
        """Return the next wider one; the same if there is none."""
        steps = tuple(Step(step.max_length, _next(EF_LADDER, step.ef_search)) for step in self.steps)
        return replace(self, width=_next(WIDTHS, self.width), steps=steps)

    def ef_search(self, length: float) -> int:
        """Return the ef for a query of this length."""
        return next((step.ef_search for step in self.steps if length <= step.max_length), self.steps[-1].ef_search)


def calibrate(
    matrix: Matrix,
    projection: Projection,
    segments: Sequence[Segment],
    graph: Graph | None,
    kinds: Mapping[str, Vectors],
    recall_target: float,
) -> Calibration:
    """Return the least width, and ef, with which each kind of query has the recall; the greatest where none has it.

    kinds: (count, dim) queries by name. Slow; nobody may add or remove rows, or search the graph, meanwhile.
    """
    queries = {name: _Queries(matrix, projection, vectors) for name, vectors in kinds.items()}
    bias: Bias = np.where(matrix.live(slice(0, matrix.row_count)), 0, -np.inf).astype(np.float32)

    def scan(width: int) -> Find:
        return lambda query: code.nearest(segments, CodedQuery(query), width, bias)

    # The graph loses some of what the short vectors find: they must lose less than the target allows.
    wanted = (1 + recall_target) / 2 if graph else recall_target
    width = max(_least(WIDTHS, one, scan, wanted) for one in queries.values())
    scans = {name: one.measure(scan(width)) for name, one in queries.items()}
    calibration = Calibration(width, scan_recall=_recalls(scans), scan_s=_mean_cost(scans), row_s=_row_cost(matrix))
    if graph is None:
        return calibration

    def walk(ef_search: int) -> Find:
        return _graph_search(graph, width, ef_search)

    efs = {name: _least(EF_LADDER, one, walk, recall_target) for name, one in queries.items()}
    walks = {name: one.measure(walk(efs[name])) for name, one in queries.items()}
    steps = _steps({name: one.lengths for name, one in queries.items()}, efs)
    return replace(calibration, steps=steps, graph_recall=_recalls(walks), graph_s=_mean_cost(walks))


@dataclass(frozen=True)
class _Measured:
    """A recall, what it is at least when measured on other queries, and the CPU seconds of a search."""

    recall: float
    least_recall: float
    cpu_s: float


class _Queries:
    """Queries, and what the true nearest rows score for them."""

    def __init__(self, matrix: Matrix, projection: Projection, vectors: Vectors) -> None:
        self.lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1)
        self._matrix = matrix
        self._vectors = vectors
        self._short = [projection.map_query(vector.astype(np.float64)) for vector in vectors]
        self._k = min(K, len(matrix))
        self._least = least_true_scores(matrix, vectors, self._k, matrix.row_count)

    def measure(self, find: Find) -> _Measured:
        """Return the recall, and the mean CPU time. A row as near as the true tenth is as good as it: of a hundred
        items with one text, any ten are found."""
        begin_s = time.thread_time()
        found = [find(query) for query in self._short]
        cpu_s = (time.thread_time() - begin_s) / len(found)
        rows = [self._matrix.take(labels) for labels in found]
        hits = [(rows @ one >= least).sum() for rows, one, least in zip(rows, self._vectors, self._least, strict=True)]
        recalls = np.minimum(hits, self._k) / self._k
        mean, error = float(recalls.mean()), float(recalls.std()) / sqrt(len(recalls))
        return _Measured(mean, mean - STANDARD_ERRORS * error, cpu_s)


def least_true_scores(matrix: Matrix, queries: Vectors, k: int, row_count: int) -> Vector:
    """Return (count,) float32 what a row scores at least that is one of the k nearest to queries (count, dim), among
    the first rows."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    for first, rows in matrix.pieces():
        scores = queries @ rows.T
        labels = np.arange(first, first + len(rows))
        scores[:, ~matrix.live(labels) | (labels >= row_count)] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        best = np.partition(both, both.shape[1] - k, axis=1)[:, both.shape[1] - k :]
    kth: Vector = best.min(axis=1)
    return (kth - TIE * np.maximum(1, np.abs(kth))).astype(np.float32)


def _least(ladder: Sequence[int], queries: _Queries, search: Callable[[int], Find], target: float) -> int:
    """Return the first of the ladder with which the recall reaches the target, or the last."""
    return next((one for one in ladder if queries.measure(search(one)).least_recall >= target), ladder[-1])


def _recalls(measured: Mapping[str, _Measured]) -> dict[str, float]:
    return {name: one.recall for name, one in measured.items()}


def _mean_cost(measured: Mapping[str, _Measured]) -> float:
    return float(np.mean([one.cpu_s for one in measured.values()]))


def _next(ladder: Sequence[int], value: int) -> int:
    return next((one for one in ladder if one > value), value)


def _graph_search(graph: Graph, width: int, ef_search: int) -> Find:
    def find(query: Vector) -> Labels:
        found = graph.nearest(query, min(width, len(graph.labels)), ef_search)
        return np.zeros(0, np.int64) if found is None else found

    return find


def _steps(lengths: Mapping[str, NDArray[np.float32]], efs: Mapping[str, int]) -> tuple[Step, ...]:
    """Return the ef of each class of lengths: what each kind of query needs that belongs to it."""
    pooled = np.concatenate(list(lengths.values()))
    edges = [*np.quantile(pooled, np.arange(1, LENGTH_CLASSES) / LENGTH_CLASSES).tolist(), float("inf")]
    steps, low = [], -1.0
    for high in edges:
        shares = {name: float(((low < values) & (values <= high)).mean()) for name, values in lengths.items()}
        needed = [efs[name] for name, share in shares.items() if share >= KIND_SHARE]
        steps.append(Step(high, max(needed, default=max(efs.values()))))
        low = high
    return tuple(steps)


def _row_cost(matrix: Matrix) -> float:
    """Return the CPU seconds that one more row takes to score, of rows that lie apart."""
    labels = np.random.default_rng(0).integers(matrix.row_count, size=4_096)
    query = matrix.take(labels[:1])[0]
    begin_s = time.thread_time()
    for start in range(0, len(labels), 256):
        matrix.take(labels[start : start + 256]) @ query
    return (time.thread_time() - begin_s) / len(labels)
