"""Candidates in an order in which each adds something to those before it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recwire_server.vector import Vectors

# Of so many times the limit, and at least so many, of the best candidates the diverse ones are chosen.
POOL_FACTOR, MIN_POOL_SIZE = 5, 100


def pool_size(limit: int) -> int:
    """Return of how many of the best candidates `limit` are chosen."""
    return max(POOL_FACTOR * limit, MIN_POOL_SIZE)


def diverse(scores: NDArray[np.float64], vectors: Vectors, limit: int, diversity: float) -> Sequence[int]:
    """Return the places of at most `limit` candidates in the order of their maximal marginal relevance.

    scores: (count,) descending, on the scale of cosines. vectors: (count, dim). Each is the one with the most of
    (1 - diversity) * score - diversity * its greatest cosine to those before it, of equals the first
    (Carbonell and Goldstein, 1998). The first is the best; with diversity 0 the order stays.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    nearest = np.full(len(scores), -np.inf)  # cosine to the nearest that is chosen
    chosen: list[int] = []
    relevance = (1 - diversity) * scores
    while len(chosen) < min(limit, len(scores)):
        place = int(np.argmax(relevance - diversity * nearest)) if chosen and diversity else len(chosen)
        chosen.append(place)
        nearest = np.maximum(nearest, units @ units[place])
        relevance[place] = -np.inf
    return chosen
