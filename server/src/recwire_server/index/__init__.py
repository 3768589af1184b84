"""Vectors to their nearest neighbours by inner product.

Read in this order: this module (what an index is), `adaptive` (the serving one), `matrix` (the rows), `exact` (scores
of rows), `sealed` (what searches the first rows without scoring all), `projection` (short vectors for that), `code`
(these as bytes, all scanned at a time), `graph` (these in an HNSW graph), `calibration` (how wide to search, and what
it costs) with `mixture` (queries to measure by), `snapshot` and `snapshot_folder` (all of it on disk).

A `label` is a row number; it never leaves the catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recwire_server.vector import Query, Vector, Vectors

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Nearest rows: labels (count,) int64 and scores (count,) float64, best first, ties by label."""

    labels: Labels
    scores: Scores


@dataclass(frozen=True)
class Near:
    """Rows, each once, among which the nearest to a query are; unscored.

    placed: labels of those whose order is known, about, nearest first. unplaced: of those that only a score can place.
    """

    placed: Labels
    unplaced: Labels

    def __len__(self) -> int:
        return len(self.placed) + len(self.unplaced)


class Index(Protocol):
    """Rows of vectors that are searched by inner product. Called from one thread, the event loop's.

    Scores are inner products in float64, the same for the same row wherever it lies; higher is nearer. More than k rows
    come back where some tie with the last.
    """

    def __len__(self) -> int:
        """Return how many rows are not removed."""

    @property
    def row_count(self) -> int:
        """Rows ever added, removed ones too."""

    def add(self, vectors: Vectors) -> Labels:
        """Add (count, dim) float32 rows; return their labels, consecutive and never used again."""

    def remove(self, labels: Sequence[int]) -> None:
        """Keep these rows out of every later search. Their vectors stay readable."""

    def vector(self, label: int) -> Vector:
        """Return one row (dim,), a removed one too; not to be changed."""

    def vectors(self, labels: Labels | Sequence[int]) -> Vectors:
        """Return (count, dim) rows, removed ones too."""

    def live_labels(self) -> Labels:
        """Return the labels of all rows that are not removed, ascending."""

    def search(self, query: Query, k: int, *, exact: bool = False) -> Matches:
        """Return the k rows nearest to query (dim,), fewer if there are not so many. With `exact` every row is
        scored."""

    def near(self, query: Query, k: int) -> Near:
        """Return rows, not removed, among which the k nearest are."""

    def best_near(self, near: Near, query: Query, k: int) -> Matches:
        """Return the k nearest of what is near, or of a part of it that holds its own k nearest."""

    def search_among(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        """Return the k best of these rows, each given once, not removed.

        extra: (row count or more,) what is added to the score of each row of the index, by label.
        """

    def best_of(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        """Return what `search_among` returns, by scoring each of the rows."""

    def search_cost_s(self, k: int) -> float:
        """Return the CPU seconds that `search` takes, about; infinity where it scores all rows."""

    def among_cost_s(self) -> float:
        """Return the CPU seconds that `search_among` takes, about; infinity where it scores all the rows."""

    def best_of_cost_s(self, row_count: int) -> float:
        """Return the CPU seconds that `best_of` takes for so many rows, about."""
