"""Candidates in an order in which each adds something to those before it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Of so many times the limit, and at least so many, of the best candidates the diverse ones are chosen.
POOL_FACTOR, MIN_POOL_SIZE = 5, 100


def pool_size(limit: int) -> int:
    """Return of how many of the best candidates `limit` are chosen."""
    return max(POOL_FACTOR * limit, MIN_POOL_SIZE)


def diverse(
    relevances: NDArray[np.float64], vectors: NDArray[np.float64], limit: int, diversity: float
) -> Sequence[int]:
    """Return the places of at most `limit` candidates in the order of their maximal marginal relevance.

    relevances: (count,) on the scale of cosines. vectors: (count, dim). Each is the one with the most of
    (1 - diversity) * relevance - diversity * its greatest cosine to those before it, of equals the first
    (Carbonell and Goldstein, 1998).
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    nearest = np.full(len(relevances), -np.inf)  # cosine to the nearest that is chosen
    chosen: list[int] = []
    marginal = (1 - diversity) * relevances
    while len(chosen) < min(limit, len(relevances)):
        place = int(np.argmax(marginal - diversity * nearest if chosen else marginal))
        chosen.append(place)
        nearest = np.maximum(nearest, units @ units[place])
        marginal[place] = -np.inf
    return chosen
