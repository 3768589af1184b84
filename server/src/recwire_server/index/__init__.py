"""Vectors to their nearest neighbours by inner product.

Read in this order: this module (what an index is), `exact` (the rows, and a scan of all of them), `hnsw` (a graph over
most of the rows, and a scan of the rest), `calibration` (how wide the graph is searched).

A `label` is a row number; it never leaves the catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recwire_server.vector import Query, Vectors

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Nearest rows: labels (count,) int64 and scores (count,) float64, best first, ties by label."""

    labels: Labels
    scores: NDArray[np.float64]


class Index(Protocol):
    """Rows of vectors that are searched by inner product. Called from one thread, the event loop's."""

    def __len__(self) -> int:
        """Return how many rows are not removed."""

    def add(self, vectors: Vectors) -> Labels:
        """Add (count, dim) float32 rows; return their labels, consecutive and never used again."""

    def remove(self, labels: Sequence[int]) -> None:
        """Keep these rows out of every later search. Their vectors stay readable."""

    def vectors(self, labels: Labels | Sequence[int]) -> Vectors:
        """Return (count, dim) rows, removed ones too."""

    def search(self, query: Query, k: int, *, exact: bool = False) -> Matches:
        """Return the k rows nearest to query (dim,), fewer if there are not so many.

        Scores are inner products in float64, the same for the same row wherever it lies; higher is nearer. More than k
        come back where rows tie with the last. With `exact` every row is scored.
        """

    def live_labels(self) -> Labels:
        """Return the labels of all rows that are not removed, ascending."""

    def best_of(self, labels: Labels, query: Query, k: int, extra: Scores | None = None) -> Matches:
        """Return the k best of these rows, each given once, by a scan of them; scores and ties as in `search`.

        extra: (row count or more,) what is added to the score of each row of the index, by label.
        """
