"""What the contract's words mean where no state is needed: weights, times, filters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from recwire import AttributeValue, Condition, Event, EventType, Filter, Item, RecommendResponse

NS_PER_S = 10**9
# The contract's table of default weights (event.proto).
DEFAULT_WEIGHTS = {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 3, 6: 2, 7: -1, 8: 2, 9: 1, 10: 1, 11: -0.5, 12: 1}
DAY_S = 86_400.0


@dataclass(frozen=True)
class Rules:
    """The settings that decide answers, by their names."""

    decay_per_event: float = 1.0
    decay_half_life_s: float = 0.0
    event_weights: Mapping[str, float] = field(default_factory=dict)
    repeat_window_s: float = 0.0
    max_history_events: int = 1_000
    older_events: str = "count"
    popularity_weight: float = 0.0
    popularity_half_life_s: float = 30 * DAY_S
    recency_weight: float = 0.0
    recency_half_life_s: float = 30 * DAY_S

    def weight(self, event: Event) -> float:
        """The event's own weight, or its type's."""
        if event.HasField("weight"):
            return event.weight
        name = EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()
        return self.event_weights.get(name, DEFAULT_WEIGHTS[event.type])


@dataclass(frozen=True)
class Recorded:
    """An event, when it happened, when it was taken, and which it was of those that were taken."""

    event: Event
    time_ns: int
    record_ns: int
    number: int


def session_records(events: Iterable[Event], now_ns: int) -> list[Recorded]:
    """The events of a session as they count: named by their places, of those with one id the first."""
    records: dict[str, Recorded] = {}
    for number, event in enumerate(events):
        named = Event()
        named.CopyFrom(event)
        named.event_id = event.event_id or f"session.events[{number}]"
        records.setdefault(named.event_id, Recorded(named, event_time_ns(event, now_ns), now_ns, number))
    return list(records.values())


def alike(event: Event, other: Event) -> bool:
    """Whether they are equal in subject, type and weight."""

    def key(one: Event) -> tuple[object, ...]:
        subject = one.WhichOneof("subject")
        return subject, getattr(one, subject), one.type, one.HasField("weight"), one.weight

    return key(event) == key(other)


def nanoseconds(time: Timestamp) -> int:
    return time.seconds * NS_PER_S + time.nanos


def event_time_ns(event: Event, now_ns: int) -> int:
    return nanoseconds(event.event_time) if event.HasField("event_time") else now_ns


def is_out(item: Item, now_ns: int) -> bool:
    """Whether the item is published and has not expired."""
    if item.HasField("publish_time") and now_ns < nanoseconds(item.publish_time):
        return False
    return not (item.HasField("expire_time") and now_ns >= nanoseconds(item.expire_time))


def passes(item: Item, filter_: Filter) -> bool:
    return (
        all(holds(item, condition) for condition in filter_.must)
        and (not filter_.should or any(holds(item, condition) for condition in filter_.should))
        and not any(holds(item, condition) for condition in filter_.must_not)
    )


def holds(item: Item, condition: Condition) -> bool:
    """Whether an item passes a test; one without the attribute, or with another kind of it, does not."""
    if condition.attribute not in item.attributes:
        return False
    value: AttributeValue = item.attributes[condition.attribute]
    kind = value.WhichOneof("kind")
    match condition.WhichOneof("test"):
        case "any_of":
            texts = [value.text] if kind == "text" else value.labels.values if kind == "labels" else []
            return any(text in condition.any_of.values for text in texts)
        case "range":
            range_, number = condition.range, value.number
            return (
                kind == "number"
                and (not range_.HasField("gt") or number > range_.gt)
                and (not range_.HasField("gte") or number >= range_.gte)
                and (not range_.HasField("lt") or number < range_.lt)
                and (not range_.HasField("lte") or number <= range_.lte)
            )
        case _:
            return kind == "flag" and value.flag == condition.equals


def ids(answer: RecommendResponse) -> list[str]:
    """Return the items that an answer recommends, best first."""
    return [one.item_id for one in answer.recommendations]
