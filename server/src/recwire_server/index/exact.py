"""An index that scores every row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recwire_server.index import Labels, Matches, Scores
from recwire_server.vector import Query, Vector, Vectors

FIRST_CAPACITY = 1024  # rows; doubled when full, so that adding costs O(1) a row

# Sums of a few hundred products in float32 err by less than this share of the vectors' lengths multiplied: rows whose
# scores lie closer to the k-th are rescored too.
FLOAT32_ERROR = 1e-5
# Rows that lie apart are copied side by side so many at a time, which stay in a core's cache: half the time of all at
# once. Past this share of all rows, scoring all of them where they lie costs less.
GATHER_ROWS = 256
GATHER_SHARE = 0.5


class ExactIndex:
    """An `Index` that keeps rows in one matrix and scans all of them. Rows never move or change once added."""

    def __init__(self, dim: int) -> None:
        self._rows: Vectors = np.zeros((FIRST_CAPACITY, dim), np.float32)
        self._live: NDArray[np.bool_] = np.zeros(FIRST_CAPACITY, np.bool_)
        self._lengths: NDArray[np.float32] = np.zeros(FIRST_CAPACITY, np.float32)
        self._row_count = 0
        self._live_count = 0
        self._gathered: Vectors = np.zeros((GATHER_ROWS, dim), np.float32)

    def __len__(self) -> int:
        return self._live_count

    @property
    def row_count(self) -> int:
        """Rows ever added, removed ones too."""
        return self._row_count

    def add(self, vectors: Vectors) -> Labels:
        first, end = self._row_count, self._row_count + len(vectors)
        if end > len(self._rows):
            capacity = max(end, 2 * len(self._rows))
            self._rows = _grown(self._rows, capacity)
            self._live = _grown(self._live, capacity)
            self._lengths = _grown(self._lengths, capacity)
        self._rows[first:end] = vectors
        self._live[first:end] = True
        self._lengths[first:end] = np.linalg.norm(vectors, axis=1)
        self._row_count = end
        self._live_count += len(vectors)
        return np.arange(first, end)

    def remove(self, labels: Sequence[int]) -> None:
        rows = np.unique(np.asarray(labels, np.int64))
        self._live_count -= int(self._live[rows].sum())
        self._live[rows] = False

    def vectors(self, labels: Labels | Sequence[int]) -> Vectors:
        rows: Vectors = self._rows[np.asarray(labels, np.int64)]
        return rows

    def live(self, labels: Labels) -> NDArray[np.bool_]:
        """Return (count,) which of the rows are not removed."""
        mask: NDArray[np.bool_] = self._live[labels]
        return mask

    def live_labels(self) -> Labels:
        """Return the labels of all rows that are not removed, ascending."""
        return np.flatnonzero(self._live[: self._row_count])

    def search(self, query: Query, k: int, *, exact: bool = False) -> Matches:
        return self.rescored(self.scan(query, 0, k), query, k)

    def best_of(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        if k == 0 or not len(labels):
            return Matches(np.zeros(0, np.int64), np.zeros(0))
        if len(labels) > GATHER_SHARE * self._row_count:
            scores = (self._rows[: self._row_count] @ query.astype(np.float32))[labels]
        else:
            scores = self._scores_apart(labels, query.astype(np.float32))
        errors = self._lengths[labels] * _error(query)
        mask = _may_be_best(scores if extra is None else scores + extra[labels], errors, k)
        return self.rescored(labels[mask], query, k, extra)

    def scan(self, query: Query, first: int, k: int) -> Labels:
        """Return the labels from `first` on that may be among the k nearest, in no order."""
        if k == 0:
            return np.zeros(0, np.int64)
        scores = self._rows[first : self._row_count] @ query.astype(np.float32)
        scores[~self._live[first : self._row_count]] = -np.inf
        errors = self._lengths[first : self._row_count] * _error(query)
        labels = np.flatnonzero(_may_be_best(scores, errors, k)) + first
        return labels[self._live[labels]]

    def rescored(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        """Score these rows exactly and return the k best of them and what ties with the last."""
        # Row by row, not as a matrix product: its sums depend on where a row lies, and answers must not.
        scores = (self._rows[labels].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        if extra is not None:
            scores += extra[labels]
        order = np.lexsort((labels, -scores))
        if len(order) > k:
            order = order[scores[order] >= scores[order[k - 1]]]
        return Matches(labels[order], scores[order])

    def _scores_apart(self, labels: Labels, query: Vector) -> Vector:
        """Return (count,) float32 scores of rows wherever they lie."""
        scores = np.empty(len(labels), np.float32)
        for start in range(0, len(labels), GATHER_ROWS):
            piece = labels[start : start + GATHER_ROWS]
            rows = self._gathered[: len(piece)]
            np.take(self._rows, piece, axis=0, out=rows, mode="clip")  # without a buffer, which "raise" takes
            np.dot(rows, query, out=scores[start : start + len(piece)])
        return scores

    def sealed_rows(self) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the rows as they are now (count, dim) and which are live; other threads may read them while adding
        goes on, since rows do not change."""
        return self._rows[: self._row_count], self._live[: self._row_count].copy()


def _error(query: Query) -> np.float32:
    """Return by how much the float32 score of a row of length 1 errs at most."""
    return np.float32(FLOAT32_ERROR * np.linalg.norm(query))


def _may_be_best(scores: NDArray[np.floating], errors: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return which of these float32 scores may be among the k best, were they exact. errors: how far off they are."""
    if len(scores) <= k:
        return np.ones(len(scores), np.bool_)
    least = scores - errors
    kth = np.partition(least, len(least) - k)[len(least) - k]
    mask: NDArray[np.bool_] = scores + errors >= kth
    return mask


def _grown(array: np.ndarray, capacity: int) -> np.ndarray:
    grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
