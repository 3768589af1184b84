"""What a user did, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from recwire_server.vector import Vector


class EventType(IntEnum):
    """Kinds of events; the numbers are the wire's and the store's."""

    UNSPECIFIED = 0
    VIEW = 1
    CLICK = 2
    SEARCH = 3
    ADD_TO_CART = 4
    PURCHASE = 5
    LIKE = 6
    DISLIKE = 7
    SHARE = 8
    COMMENT = 9
    PLAY = 10
    SKIP = 11
    RATE = 12


# Stronger signs of wanting weigh more; a dislike undoes a view, a skip half of one. The proto's comments say the same.
DEFAULT_WEIGHTS: Mapping[EventType, float] = MappingProxyType(
    {
        EventType.UNSPECIFIED: 1.0,
        EventType.VIEW: 1.0,
        EventType.CLICK: 1.0,
        EventType.SEARCH: 1.0,
        EventType.ADD_TO_CART: 2.0,
        EventType.PURCHASE: 3.0,
        EventType.LIKE: 2.0,
        EventType.DISLIKE: -1.0,
        EventType.SHARE: 2.0,
        EventType.COMMENT: 1.0,
        EventType.PLAY: 1.0,
        EventType.SKIP: -0.5,
        EventType.RATE: 1.0,
    }
)


MAX_EVENT_WEIGHT = 1e6  # a user's sum of weights must stay far from where float64 loses single events


@dataclass(frozen=True, slots=True)
class Event:
    """Something a user did to an item, a text or a vector.

    item_id: the item; None for an event on a text or a vector.
    text: the text; None for the others.
    vector: (dim,) before the vector space: the text's embedding, or what the client sent; None for an item.
    weight: overrides the type's; None: the type's.
    revision: its place in the log, given by the store, growing over all users; 0 before it is stored.
    """

    event_id: str
    item_id: str | None
    text: str | None
    vector: Vector | None
    type: EventType
    weight: float | None
    event_time_ns: int
    record_time_ns: int
    recommendation_id: str
    revision: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the user's history: by when it happened, then by when it came."""
        return self.event_time_ns, self.revision

    def recorded(self, revision: int) -> "Event":
        """Return the event with its place in the log."""
        return Event(
            self.event_id,
            self.item_id,
            self.text,
            self.vector,
            self.type,
            self.weight,
            self.event_time_ns,
            self.record_time_ns,
            self.recommendation_id,
            revision,
        )
