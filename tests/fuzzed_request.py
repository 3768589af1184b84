"""Requests that no client would send, and some that one could: drawn by number from the contract's own descriptors.

Each is a message filled field by field, mostly with what the server knows (KNOWN), at times with what lies at or beyond
a bound (HOSTILE); a third of them are then damaged as bytes. The same seed and number give the same bytes in every
process.
"""

import base64
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2

METHODS: list[MethodDescriptor] = [
    method
    for module in (recommender_service_pb2, catalog_service_pb2, user_service_pb2, admin_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
DIM = 32  # of the vectors that fit
# How often each rpc is drawn: the more there is to a request, the more; what takes away what others ask for, seldom.
WEIGHTS = {"Recommend": 8, "UpdateUser": 5, "UpdateUserStream": 5, "UpsertItems": 5, "ImportItems": 5, "DeleteItems": 1}
WEIGHTS |= {"DeleteUser": 1, "GetServerInfo": 1, "CheckUsers": 1}
HOSTILITY = (0.0, 0.0, 0.02, 0.3)  # shares of values at or beyond a bound; a request draws one of these
MAX_DEPTH = 6

KNOWN_IDS = {
    "item": [f"i{n}" for n in range(40)],
    "user": [f"u{n}" for n in range(10)],
    "event": [f"e{n}" for n in range(20)],
    "recommendation": [f"r{n}" for n in range(5)],
}
ATTRIBUTES = ["genre", "year", "free"]
TEXTS = ["title 3", "a lamp of brass", "Märchen für Kinder", "冬天的故事", "<b>bold</b> &amp; bright", "word " * 100]
HOSTILE_TEXTS = [
    *(
        "",
        " ",
        "\0",
        "\u200b",
        "\u202e\u202d",
        "\u0301" * 50,
        "\U0010ffff",
        "'; DROP TABLE event; --",
        "../../etc/passwd",
    ),
    *("x" * 256, "x" * 257, "é" * 128, "é" * 129, "%s%n{0}\r\n", "<" * 500, "&#" * 500, "<![CDATA[", "nan", "-1"),
]
RARE_TEXTS = ["x" * 32_768, "x" * 32_769, "<a " * 10_922, "&#x" * 10_922, "<!--" * 8_192, "\u0301" * 16_384]
INTEGERS = [0, 1, 2, 10, 100]
HOSTILE_INTEGERS = [-1, 255, 256, 1_000, 1_001, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1]
HOSTILE_DOUBLES = [*(float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 1.8e308, -1e300, 1e6, 1e7, -1.0, 2.0)]
HOSTILE_VECTORS = [
    *(b"", b"\0", bytes(4 * DIM), struct.pack("<f", 1.0) * (DIM + 1), struct.pack("<f", float("nan")) * DIM),
    *(
        struct.pack("<f", float("inf")) * DIM,
        struct.pack("<f", 3e38) * DIM,
        struct.pack("<f", 1e-45) * DIM,
        b"\1" * 4096,
    ),
]
INTEGER_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@dataclass(frozen=True)
class FuzzedRequest:
    """A request as bytes, and the rpc that it goes to."""

    method: MethodDescriptor
    data: bytes
    seed: int
    number: int

    @property
    def path(self) -> str:
        """The rpc as HTTP/2 names it."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def __str__(self) -> str:
        shown = self.data if len(self.data) <= 2_000 else self.data[:2_000] + b"..."
        return f"fuzzed_request({self.seed}, {self.number}): {self.path} {shown.hex()}"


def fuzzed_request(seed: int, number: int) -> FuzzedRequest:
    """Return the request with this number."""
    chance = random.Random(seed * 1_000_003 + number)
    (method,) = chance.choices(METHODS, [WEIGHTS.get(method.name, 2) for method in METHODS])
    data = _Draw(chance).message(method.input_type).SerializeToString()
    for _ in range(chance.choice((0, 0, 0, 0, 1, 2))):
        data = chance.choice(DAMAGES)(chance, data)
    return FuzzedRequest(method, data, seed, number)


class _Draw:
    """Values for the fields of one request."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._hostility = chance.choice(HOSTILITY)

    def message(self, descriptor: Any, depth: int = 0) -> Message:
        """Return a message with most of its fields set; of a oneof mostly a single one."""
        message: Message = GetMessageClass(descriptor)()
        for oneof in descriptor.oneofs:
            self._fill(message, self._chance.choice(oneof.fields), depth)
        for field in descriptor.fields:
            if depth < MAX_DEPTH and self._chance.random() < self._likelihood(field):
                self._fill(message, field, depth)
        return message

    def _likelihood(self, field: FieldDescriptor) -> float:
        if field.containing_oneof is not None or field.name == "min_revision":  # which is waited for
            return 0.02
        return 0.9 if field.is_repeated or field.name in ("user_id", "item_id", "attribute", "request") else 0.3

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value_field = field.message_type.fields_by_name["value"]
            for _ in range(self._chance.randrange(4)):
                name = self._text("attribute")
                getattr(message, field.name)[name].CopyFrom(self.message(value_field.message_type, depth + 1))
        elif field.is_repeated:
            values = [self._value(field, depth) for _ in range(self._count())]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self._value(field, depth))
        else:
            setattr(message, field.name, self._value(field, depth))

    def _count(self) -> int:
        if self._is_hostile() and self._is_hostile():
            return self._chance.choice((0, 64, 65, 256, 257))
        return self._chance.choice((1, 1, 1, 2, 3))

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_MESSAGE:
            return self.message(field.message_type, depth + 1)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance.random() < 0.5
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            most = len(field.enum_type.values)
            return self._chance.choice((most, -1, 2**31 - 1)) if self._is_hostile() else self._chance.randrange(most)
        if kind == FieldDescriptor.CPPTYPE_DOUBLE:
            return self._chance.choice(HOSTILE_DOUBLES) if self._is_hostile() else self._chance.random()
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._vector() if field.type == FieldDescriptor.TYPE_BYTES else self._text(field.name)
        least, most = INTEGER_RANGES[kind]
        number = self._chance.choice(HOSTILE_INTEGERS if self._is_hostile() else INTEGERS)
        return min(max(number, least), most)

    def _text(self, name: str) -> str:
        if self._is_hostile():
            return self._chance.choice(RARE_TEXTS if self._chance.random() < 0.01 else HOSTILE_TEXTS)
        if name == "attribute":
            return self._chance.choice(ATTRIBUTES)
        if name == "page_token":
            last = self._chance.choice((*KNOWN_IDS["item"], "1", "17", "-1", "9" * 19, "٣"))
            return base64.urlsafe_b64encode(last.encode()).decode()
        kind = name.partition("_")[0]
        return self._chance.choice(KNOWN_IDS[kind] if "_id" in name and kind in KNOWN_IDS else TEXTS)

    def _vector(self) -> bytes:
        if self._is_hostile():
            return self._chance.choice(HOSTILE_VECTORS)
        return struct.pack(f"<{DIM}f", *(self._chance.uniform(-1, 1) for _ in range(DIM)))

    def _is_hostile(self) -> bool:
        return self._chance.random() < self._hostility


def _cut_off(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(chance: random.Random, data: bytes) -> bytes:
    flipped = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 2, 8))):
        flipped[chance.randrange(len(flipped))] = chance.randrange(256)
    return bytes(flipped)


def _insert(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.choice((1, 2, 4, 50))) + data[place:]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    """A second time, so that a oneof is set twice."""
    begin = chance.choice((0, chance.randrange(len(data) + 1)))
    return data + data[begin:]


def _add_field(chance: random.Random, data: bytes) -> bytes:
    """A field that nobody knows, or one that is known with another wire type."""
    number, wire_type = chance.choice((1, 2, 3, 5, 99, 19_000, 2**29 - 1)), chance.randrange(8)
    payload = chance.choice((b"", b"\0", b"\x05hello", b"\xff" * 9 + b"\x01", b"\xff" * 11, bytes(8), b"\x80\x80\x01"))
    return data + varint(number << 3 | wire_type) + payload


def _nest(chance: random.Random, data: bytes) -> bytes:
    """The message within itself, as groups or as messages, deeper than protobuf reads."""
    number, depth = chance.randrange(1, 15), chance.choice((2, 50, 99, 101, 3_000))
    if chance.random() < 0.5:
        return bytes([number << 3 | 3]) * depth + bytes([number << 3 | 4]) * chance.choice((depth, depth - 1, 0))
    for _ in range(min(depth, 200)):
        data = bytes([number << 3 | 2]) + varint(len(data)) + data
    return data


def _break_text(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    broken = chance.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"))
    return data[:place] + broken + data[place + len(broken) :]


DAMAGES: list[Callable[[random.Random, bytes], bytes]] = [
    *(_cut_off, _flip, _insert, _repeat, _add_field, _nest, _break_text),
]


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])
