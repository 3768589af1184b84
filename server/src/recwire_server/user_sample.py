"""A few users as they are stored, to measure the index by."""

from collections.abc import Sequence

import numpy as np

from recwire_server.event import Event
from recwire_server.generation import Generation
from recwire_server.history import History, HistoryRules
from recwire_server.store import Store
from recwire_server.vector import Vectors

SAMPLED_USERS = 100
SAMPLED_EVENTS = 200  # of each, the newest: what is older changes little of where a vector lies


class UserSample:
    """Draws users, the busy ones more often, as they ask more often."""

    def __init__(self, store: Store, rules: HistoryRules) -> None:
        self._store = store
        self._rules = rules

    async def draw(self) -> list[list[Event]]:
        """Return the events of at most SAMPLED_USERS users."""
        return await self._store.sample_histories(SAMPLED_USERS, SAMPLED_EVENTS)

    def vectors(self, histories: Sequence[Sequence[Event]], generation: Generation) -> Vectors:
        """Return (count, dim) vectors in a generation; of users whom nothing has moved there is none."""
        dim = generation.index.dim
        vectors = [History(self._rules, generation.event_vector, dim, events).vector for events in histories]
        moved = [vector.value for vector in vectors if not vector.is_zero]
        return np.array(moved, np.float32).reshape(-1, dim)
