"""A recommender as plain as can be: lists, replay from the start for each question, a scan of all items, no cache.

It follows the design's formulas, not the server's code:
v(u) = sum(w_i * g^(later events) * e_i) / sum(|w_i| * g^(later events)), f(u, c) = dot(v(u), v(c)).
"""

from dataclasses import dataclass, field

import numpy as np

from recwire import Event, Item, from_bytes
from recwire_server.encoder import Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder

# The contract's table of default weights (event.proto).
DEFAULT_WEIGHTS = {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 3, 6: 2, 7: -1, 8: 2, 9: 1, 10: 1, 11: -0.5, 12: 1}


def weight_of(event: Event) -> float:
    """The event's own weight, or its type's."""
    return event.weight if event.HasField("weight") else DEFAULT_WEIGHTS[event.type]


@dataclass
class Oracle:
    """The catalogue, and every item vector that ever was, in one vector space.

    mean: what the space subtracts before it scales to unit length; None: plain.
    """

    decay: float = 1.0
    mean: np.ndarray | None = None
    encoder: HashEncoder = field(default_factory=HashEncoder)
    items: dict[str, np.ndarray] = field(default_factory=dict)
    last_vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def embed(self, text: str, purpose: Purpose) -> np.ndarray:
        return encode(self.encoder, [text], purpose)[0].vector.astype(np.float64)

    def raw_item_vector(self, item: Item) -> np.ndarray:
        """The client's vector, or the mean of the pieces' embeddings; a title that is no piece yet is the first."""
        if item.vector:
            return np.array(from_bytes(item.vector), np.float64)
        pieces = list(item.texts) if not item.title or item.title in item.texts else [item.title, *item.texts]
        return np.mean([self.embed(piece, Purpose.DOCUMENT) for piece in pieces], axis=0)

    def served(self, vector: np.ndarray) -> np.ndarray:
        if self.mean is None:
            return vector
        centred = vector - self.mean
        return centred / np.linalg.norm(centred)

    def upsert(self, item: Item) -> None:
        self.items[item.item_id] = self.last_vectors[item.item_id] = self.raw_item_vector(item)

    def delete(self, item_id: str) -> None:
        self.items.pop(item_id, None)

    def event_vector(self, event: Event) -> np.ndarray | None:
        match event.WhichOneof("subject"):
            case "item_id":
                vector = self.last_vectors.get(event.item_id)
            case "text":
                vector = self.embed(event.text, Purpose.QUERY)
            case _:
                vector = np.array(from_bytes(event.vector), np.float64)
        return None if vector is None else self.served(vector)

    def user_vector(self, events: list[Event]) -> np.ndarray | None:
        """v(u); None if nothing moves the user."""
        moving = [(weight_of(e), v) for e in events if (v := self.event_vector(e)) is not None and weight_of(e)]
        ages = range(len(moving) - 1, -1, -1)
        n = sum(abs(weight) * self.decay**age for (weight, _), age in zip(moving, ages, strict=True))
        if not n:
            return None
        return sum(weight * self.decay**age * v for (weight, v), age in zip(moving, ages, strict=True)) / n

    def recommend(
        self, query: np.ndarray, excluded: set[str], limit: int, min_score: float | None = None
    ) -> list[tuple[str, float]]:
        """Every item scored; the best, ties by item id."""
        scores = [
            (item_id, float(query @ self.served(vector)))
            for item_id, vector in self.items.items()
            if item_id not in excluded
        ]
        scores.sort(key=lambda pair: (-pair[1], pair[0]))
        return [pair for pair in scores[:limit] if min_score is None or pair[1] >= min_score]
