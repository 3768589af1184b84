"""Scores of rows, computed one by one: the search that finds what is there."""

import numpy as np
from numpy.typing import NDArray

from recwire_server.index import Labels, Matches, Scores
from recwire_server.index.matrix import Matrix
from recwire_server.vector import Query, Vector, length

# Sums of a few hundred products in float32 err by less than this share of the vectors' lengths multiplied: rows whose
# scores lie closer to the k-th are rescored too.
FLOAT32_ERROR = 1e-5
# Rows that lie apart are copied side by side so many at a time, which stay in a core's cache: half the time of all at
# once. Past this share of all rows, scoring all of them where they lie costs less.
GATHER_ROWS = 256
GATHER_SHARE = 0.5


def best_of(matrix: Matrix, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
    """Return the k best of these rows, each given once, and what ties with the last.

    extra: (row count or more,) what is added to the score of each row, by label.
    """
    if k == 0 or not len(labels):
        return Matches(np.zeros(0, np.int64), np.zeros(0))
    single = query.astype(np.float32)
    if len(labels) > GATHER_SHARE * matrix.row_count:
        scores = _all_scores(matrix, single, 0)[labels]
    else:
        scores = _scores_apart(matrix, labels, single)
    errors = matrix.lengths(labels) * _error(query)
    mask = _may_be_best(scores if extra is None else scores + extra[labels], errors, k)
    return rescored(matrix, labels[mask], query, k, extra)


def scan(matrix: Matrix, query: Query, first: int, k: int) -> Labels:
    """Return the labels from `first` on, not removed, that may be among the k nearest, in no order."""
    if k == 0 or first >= matrix.row_count:
        return np.zeros(0, np.int64)
    rows = slice(first, matrix.row_count)
    scores = _all_scores(matrix, query.astype(np.float32), first)
    live = matrix.live(rows)
    scores[~live] = -np.inf
    return np.flatnonzero(_may_be_best(scores, matrix.lengths(rows) * _error(query), k) & live) + first


def rescored(matrix: Matrix, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
    """Score these rows exactly and return the k best of them and what ties with the last."""
    # Row by row, not as a matrix product: its sums depend on where a row lies, and answers must not.
    scores = (matrix.take(labels).astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    if extra is not None:
        scores += extra[labels]
    order = np.lexsort((labels, -scores))
    if len(order) > k:
        order = order[scores[order] >= scores[order[k - 1]]]
    return Matches(labels[order], scores[order])


def _all_scores(matrix: Matrix, query: Vector, first: int) -> Vector:
    """Return float32 scores of all rows from one on."""
    return np.concatenate([rows @ query for _, rows in matrix.pieces(first)])


def _scores_apart(matrix: Matrix, labels: Labels, query: Vector) -> Vector:
    """Return (count,) float32 scores of rows wherever they lie."""
    scores = np.empty(len(labels), np.float32)
    for start in range(0, len(labels), GATHER_ROWS):
        piece = labels[start : start + GATHER_ROWS]
        np.dot(matrix.take(piece), query, out=scores[start : start + len(piece)])
    return scores


def _error(query: Query) -> np.float32:
    """Return by how much the float32 score of a row of length 1 errs at most."""
    return np.float32(FLOAT32_ERROR * length(query))


def _may_be_best(scores: NDArray[np.floating], errors: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return which of these float32 scores may be among the k best, were they exact. errors: how far off they are."""
    if len(scores) <= k:
        return np.ones(len(scores), np.bool_)
    least = scores - errors
    kth = np.partition(least, len(least) - k)[len(least) - k]
    mask: NDArray[np.bool_] = scores + errors >= kth
    return mask
