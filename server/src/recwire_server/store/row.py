"""Items and events as rows of the SQLite store's tables, there and back."""

import json
from typing import Any

import numpy as np

from recwire_server.event import Event, EventType
from recwire_server.item import AttributeValue, EmbeddedItem, Item
from recwire_server.vector import Vector

Row = tuple[Any, ...]


def row_from_event(event: Event) -> Row:
    """Return the columns event_id .. recommendation_id."""
    return (
        event.event_id,
        event.item_id,
        event.text,
        None if event.vector is None else vector_to_blob(event.vector),
        int(event.type),
        event.weight,
        event.event_time_ns,
        event.record_time_ns,
        event.recommendation_id,
    )


def event_from_row(row: Row) -> Event:
    """Return the event of the columns revision, event_id .. recommendation_id."""
    (
        revision,
        event_id,
        item_id,
        text,
        vector,
        type_,
        weight,
        event_time_ns,
        record_time_ns,
        recommendation_id,
    ) = row
    return Event(
        event_id=event_id,
        item_id=item_id,
        text=text,
        vector=None if vector is None else vector_from_blob(vector),
        type=EventType(type_),
        weight=weight,
        event_time_ns=event_time_ns,
        record_time_ns=record_time_ns,
        recommendation_id=recommendation_id,
        revision=revision,
    )


def row_from_item(embedded: EmbeddedItem, revision: int, write_time_ns: int) -> Row:
    """Return all columns but `deleted`, in the table's order."""
    item = embedded.item
    return (
        item.item_id,
        revision,
        item.title,
        json.dumps(item.texts, ensure_ascii=False),
        json.dumps(dict(item.attributes), ensure_ascii=False),
        item.publish_time_ns,
        item.expire_time_ns,
        int(item.vector is not None),
        vector_to_blob(embedded.vector),
        write_time_ns,
        embedded.text_hash,
    )


def item_from_row(row: Row) -> EmbeddedItem:
    """Return the item of the columns item_id .. vector and text_hash, in the table's order."""
    item_id, revision, title, texts, attributes, publish_time_ns, expire_time_ns, from_client, blob, text_hash = row
    vector = vector_from_blob(blob)
    item = Item(
        item_id=item_id,
        title=title,
        texts=tuple(json.loads(texts)),
        attributes=attributes_from_json(attributes),
        vector=vector if from_client else None,
        publish_time_ns=publish_time_ns,
        expire_time_ns=expire_time_ns,
    )
    return EmbeddedItem(item, vector, text_hash, revision)


def attributes_from_json(text: str) -> dict[str, AttributeValue]:
    """Return the attributes of their column."""
    return {name: _attribute(value) for name, value in json.loads(text).items()}


def _attribute(value: Any) -> AttributeValue:
    return tuple(value) if isinstance(value, list) else value


def vector_to_blob(vector: Vector) -> bytes:
    """Return (dim,) float32 as little-endian bytes."""
    return vector.astype("<f4").tobytes()


def vector_from_blob(blob: bytes) -> Vector:
    """Return little-endian bytes as (dim,) float32."""
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
