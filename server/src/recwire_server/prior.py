"""What counts beside the inner product of the embeddings: further dimensions of every item, and what a query has there.

Popularity and recency are dimensions of the item vector that change with every event and every second, so they lie in
columns of their own, beside the matrix. So do boosts: an item has a 1 in the dimension of each rule that it matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recwire_server.event import Event
from recwire_server.filter import Boost
from recwire_server.generation import Generation
from recwire_server.history import NS_PER_S
from recwire_server.index import Labels, Scores
from recwire_server.popularity import Popularity


@dataclass(frozen=True)
class Part:
    """What one kind of thing adds to the score of every item.

    name: as in Contribution.part. values: (row count or more,) float64, by label.
    """

    name: str
    values: Scores


@dataclass(frozen=True)
class PriorWeights:
    """What the most popular, and the newest, item has added to its score for a user with a history.

    recency_half_life_s: the age at which an item has half of that.
    """

    popularity: float = 0.0
    recency: float = 0.0
    recency_half_life_s: float = 30 * 24 * 3600.0


class Prior:
    """Knows what is popular and new. Belongs to the event loop."""

    def __init__(self, popularity: Popularity, weights: PriorWeights) -> None:
        self._popularity = popularity
        self._weights = weights

    def parts(self, generation: Generation, now_ns: int, ignored: Sequence[Event] = ()) -> list[Part]:
        """Return what the prior adds for someone of whom something is known; nothing where its weights are 0.

        ignored: events that make nothing popular.
        """
        parts = []
        if self._weights.popularity:
            shares = self.popularity(generation, now_ns, ignored)
            parts.append(Part("prior", self._weights.popularity * shares))
        if self._weights.recency:
            parts.append(Part("recency", self._weights.recency * self._recency(generation, now_ns)))
        return parts

    def popularity(self, generation: Generation, now_ns: int, ignored: Sequence[Event] = ()) -> Scores:
        """Return (row count,) each item's share of the events of the most popular that can be recommended, 0-1.

        ignored: events that are left out.
        """
        live = _recommendable(generation, now_ns)
        counts = np.zeros(generation.index.row_count)
        counts[live] = self._popularity.counts(generation.numbers(live), ignored)
        most = counts.max(initial=0.0)
        # What seconds apart made, or rounding, is equally popular.
        return (counts / most).round(6) if most else counts

    def _recency(self, generation: Generation, now_ns: int) -> Scores:
        live = _recommendable(generation, now_ns)
        ages_s = (now_ns - generation.new_times_ns(live)) / NS_PER_S
        recency = np.zeros(generation.index.row_count)
        recency[live] = np.exp2(-np.maximum(ages_s, 0.0) / self._weights.recency_half_life_s)
        return recency


def boost_parts(generation: Generation, boosts: Sequence[Boost]) -> list[Part]:
    """Return what business rules add."""
    parts = []
    for boost in boosts:
        values = np.zeros(generation.index.row_count)
        values[np.array(generation.attributes.matching(boost.when).to_array(), np.int64)] = boost.add
        parts.append(Part("boost", values))
    return parts


def total(parts: Sequence[Part]) -> Scores:
    """Return (row count,) the sum of the parts, of which there is at least one, by label."""
    values: Scores = np.sum([part.values for part in parts], axis=0)
    return values


def _recommendable(generation: Generation, now_ns: int) -> Labels:
    labels = generation.index.live_labels()
    return generation.published(labels, now_ns)
