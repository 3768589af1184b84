"""Why a request does not parse."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from recwire_server.errors import Violation

LENGTH_DELIMITED = 2  # the wire type of strings, bytes and messages


def malformed(data: bytes, descriptor: Any) -> Violation:
    """Return what is wrong with a request that protobuf refuses: the text that is not UTF-8, else that it is no such
    message at all."""
    violation = _not_utf8(data, descriptor, "")
    return violation or Violation("", f"the request does not parse as {descriptor.full_name}")


def _not_utf8(data: bytes, descriptor: Any, path: str) -> Violation | None:
    """Return the first text below path that is not UTF-8."""
    message = Empty()  # knows no field, so that each is kept as it came
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    counts: dict[int, int] = {}
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]  # the stubs lack its iterator
        field = descriptor.fields_by_number.get(unknown.field_number)
        if field is None or unknown.wire_type != LENGTH_DELIMITED:
            continue
        place = counts[field.number] = counts.get(field.number, -1) + 1
        name = f"{path}{field.name}[{place}]" if field.is_repeated else f"{path}{field.name}"
        if field.type == FieldDescriptor.TYPE_STRING:
            try:
                unknown.data.decode()
            except UnicodeDecodeError as error:
                return Violation(name, f"is not UTF-8 from byte {error.start} on")
        elif field.message_type is not None:
            violation = _not_utf8(unknown.data, field.message_type, f"{name}.")
            if violation:
                return violation
    return None
