"""Events on the wire, to what they mean and back."""

import uuid

from recwire.v1 import event_pb2, user_service_pb2
from recwire_server.event import MAX_EVENT_WEIGHT, Event, EventType
from recwire_server.service.field import FieldCheck, timestamp
from recwire_server.user_record import StoredEvent


def event_from(
    message: event_pb2.Event, field: str, now_ns: int, check: FieldCheck, default_id: str | None = None
) -> Event:
    """Return what a message means; its violations go to check.

    default_id: of an event without an id; None: a new one.
    """
    subject = message.WhichOneof("subject")
    if subject is None:
        check.add(field, "has no subject; set one of item_id, text, vector")
    return Event(
        event_id=check.optional_id(f"{field}.event_id", message.event_id) or default_id or uuid.uuid4().hex,
        item_id=check.id(f"{field}.item_id", message.item_id) if subject == "item_id" else None,
        text=check.content(f"{field}.text", message.text) if subject == "text" else None,
        vector=check.vector(f"{field}.vector", message.vector) if subject == "vector" else None,
        type=check.enum(f"{field}.type", message.type, EventType),
        weight=check.number(f"{field}.weight", message.weight, MAX_EVENT_WEIGHT)
        if message.HasField("weight")
        else None,
        event_time_ns=(
            check.time_ns(f"{field}.event_time", message.event_time) if message.HasField("event_time") else now_ns
        ),
        record_time_ns=now_ns,
        recommendation_id=check.optional_id(f"{field}.recommendation_id", message.recommendation_id),
    )


def stored_event_message(stored: StoredEvent) -> user_service_pb2.StoredEvent:
    """Return an event as it is stored; of a text without its embedding."""
    event = stored.event
    message = event_pb2.Event(
        event_id=event.event_id,
        type=event_pb2.EventType.Name(event.type),
        event_time=timestamp(event.event_time_ns),
        recommendation_id=event.recommendation_id,
    )
    if event.weight is not None:
        message.weight = event.weight
    if event.item_id is not None:
        message.item_id = event.item_id
    elif event.text is not None:
        message.text = event.text
    elif event.vector is not None:
        message.vector = event.vector.astype("<f4").tobytes()
    return user_service_pb2.StoredEvent(
        event=message,
        record_time=timestamp(event.record_time_ns),
        effective_weight=stored.weight,
        pending=stored.is_pending,
    )
