"""What searches should find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recwire_server.vector import Vector, Vectors

K = 10
TIE = 1e-6  # scores nearer than this are the same: products in float32 err as much


@dataclass(frozen=True)
class Asked:
    """A user as a query. vector: (dim,) float32. seen: rows of the items that must not come back."""

    vector: Vector
    seen: Sequence[int]


class Truth:
    """Queries, and what the K nearest unseen rows score for each at least. rows: (count, dim) of all items."""

    def __init__(self, rows: Vectors, queries: Sequence[Asked]) -> None:
        self._rows = rows
        self.queries = queries
        self._least = [self._least_score(query) for query in queries]

    def recall(self, found: Sequence[Sequence[int]]) -> float:
        """Return the mean share of the true nearest that was found, query by query: a row that scores as the last of
        them is as good; one that was seen, or that comes twice, is none."""
        return float(np.mean([self._share(*one) for one in zip(found, self.queries, self._least, strict=True)]))

    def _share(self, found: Sequence[int], query: Asked, least: float) -> float:
        rows = list(set(found) - set(query.seen))
        return min(K, int((self._rows[rows] @ query.vector >= least).sum())) / K

    def _least_score(self, query: Asked) -> float:
        scores = self._rows @ query.vector
        scores[list(query.seen)] = -np.inf
        return float(np.partition(scores, len(scores) - K)[len(scores) - K]) - TIE
