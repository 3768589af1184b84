"""Items on the wire, to what they mean and back."""

from recwire.v1 import item_pb2
from recwire_server.item import AttributeValue, Item
from recwire_server.service.field import FieldCheck, timestamp

MAX_TEXTS = 64
MAX_ATTRIBUTES = 64
MAX_LABELS = 1_000


def item_from(message: item_pb2.Item, field: str, check: FieldCheck) -> Item:
    """Return what a message means; its violations go to check. field: the message's path; "" for none."""
    path = f"{field}." if field else ""
    check.count(f"{path}texts", message.texts, 0, MAX_TEXTS)
    check.count(f"{path}attributes", message.attributes, 0, MAX_ATTRIBUTES)
    if not (message.title or message.texts or message.vector):
        check.add(field or "texts", "has no title, no texts and no vector; an item needs one of them")
    has_publish, has_expire = message.HasField("publish_time"), message.HasField("expire_time")
    return Item(
        item_id=check.id(f"{path}item_id", message.item_id),
        title=check.content(f"{path}title", message.title) if message.title else "",
        texts=tuple(check.content(f"{path}texts[{i}]", text) for i, text in enumerate(message.texts)),
        attributes={
            name: _attribute_from(name, value, f'{path}attributes["{name}"]', check)
            for name, value in message.attributes.items()
        },
        vector=check.vector(f"{path}vector", message.vector) if message.vector else None,
        publish_time_ns=check.time_ns(f"{path}publish_time", message.publish_time) if has_publish else None,
        expire_time_ns=check.time_ns(f"{path}expire_time", message.expire_time) if has_expire else None,
    )


def item_message(item: Item) -> item_pb2.Item:
    """Return an item as it was sent."""
    message = item_pb2.Item(item_id=item.item_id, title=item.title, texts=item.texts)
    for name, value in item.attributes.items():
        message.attributes[name].CopyFrom(_attribute_message(value))
    if item.vector is not None:
        message.vector = item.vector.astype("<f4").tobytes()
    if item.publish_time_ns is not None:
        message.publish_time.CopyFrom(timestamp(item.publish_time_ns))
    if item.expire_time_ns is not None:
        message.expire_time.CopyFrom(timestamp(item.expire_time_ns))
    return message


def _attribute_from(name: str, message: item_pb2.AttributeValue, field: str, check: FieldCheck) -> AttributeValue:
    check.id(field, name)
    match message.WhichOneof("kind"):
        case "text":
            return check.text(field, message.text, may_be_empty=True)
        case "number":
            return check.number(field, message.number)
        case "flag":
            return message.flag
        case "labels":
            check.count(field, message.labels.values, 0, MAX_LABELS)
            return tuple(check.text(field, label, may_be_empty=True) for label in message.labels.values)
    check.add(field, "has no value; set one of text, number, flag, labels")
    return ""


def _attribute_message(value: AttributeValue) -> item_pb2.AttributeValue:
    if isinstance(value, bool):
        return item_pb2.AttributeValue(flag=value)
    if isinstance(value, float):
        return item_pb2.AttributeValue(number=value)
    if isinstance(value, str):
        return item_pb2.AttributeValue(text=value)
    return item_pb2.AttributeValue(labels=item_pb2.StringSet(values=value))
