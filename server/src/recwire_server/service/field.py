"""The bounds of the fields of requests."""

import math
from collections.abc import Sized
from enum import IntEnum
from typing import TypeVar

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from recwire_server.errors import InvalidRequestError, PreconditionError, Violation
from recwire_server.reason import Reason
from recwire_server.text import clean
from recwire_server.vector import Vector

MAX_ID_BYTES = 256
MAX_TEXT_BYTES = 32 * 1024
NS_PER_S = 1_000_000_000
# Times are kept as 64-bit nanoseconds since 1970, which reach from 1678 to 2261.
MAX_TIME_S = (2**63 - 1) // NS_PER_S - 1

E = TypeVar("E", bound=IntEnum)


class FieldCheck:
    """Collects every violation of a request, so that its sender can mend all at once.

    dim: the length that vectors must have.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self.violations: list[Violation] = []
        self._wrong_dimensions: list[tuple[str, int]] = []

    def add(self, field: str, description: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(field, description))

    def finish(self) -> None:
        """Raise InvalidRequestError if there were violations, PreconditionError if a vector has another dimension."""
        if self.violations:
            raise InvalidRequestError(self.violations)
        for field, dim in self._wrong_dimensions:
            raise PreconditionError(
                Reason.WRONG_DIMENSION,
                field,
                f"{field} has {dim:,} dimensions; this server's model has {self._dim:,} (ask Embed or GetServerInfo)",
            )

    def id(self, field: str, value: str) -> str:
        """Return an id of 1-256 bytes."""
        if not value:
            self.add(field, "is empty; an id has 1-256 bytes")
        return self.optional_id(field, value)

    def optional_id(self, field: str, value: str) -> str:
        """Return an id of at most 256 bytes."""
        size = len(value.encode())
        if size > MAX_ID_BYTES:
            self.add(field, f"has {size:,} bytes; the limit is {MAX_ID_BYTES}")
        return value

    def text(self, field: str, value: str, *, may_be_empty: bool = False) -> str:
        """Return a text of at most 32 KiB."""
        size = len(value.encode())
        if size > MAX_TEXT_BYTES:
            self.add(field, f"has {size:,} bytes; the limit is {MAX_TEXT_BYTES:,}")
        if not value.strip() and not may_be_empty:
            self.add(field, "is blank; give at least one character that is no space")
        return value

    def content(self, field: str, value: str) -> str:
        """Return a text of at most 32 KiB that says something, its markup and what cannot be seen aside."""
        violation_count = len(self.violations)
        self.text(field, value)
        if len(self.violations) == violation_count and not clean(value):
            self.add(field, "is nothing but markup and invisible characters; give at least one that can be read")
        return value

    def count(self, field: str, values: Sized, least: int, most: int) -> None:
        """Note if there are fewer or more values than may be."""
        if not least <= len(values) <= most:
            self.add(field, f"has {len(values):,} entries; {least:,}-{most:,} are allowed")

    def number(self, field: str, value: float, most: float = math.inf) -> float:
        """Return a finite number of at most this size."""
        if not math.isfinite(value):
            self.add(field, f"is {value}; give a finite number")
        elif abs(value) > most:
            self.add(field, f"is {value:g}; the limit is {most:g} in size")
        return value

    def enum(self, field: str, value: int, kind: type[E]) -> E:
        """Return a known value of an enum."""
        try:
            return kind(value)
        except ValueError:
            self.add(field, f"is {value}, which this server does not know; {min(kind)}-{max(kind)} are known")
            return kind(0)

    def time_ns(self, field: str, value: Timestamp) -> int:
        """Return a time as nanoseconds since 1970."""
        if not (-MAX_TIME_S <= value.seconds <= MAX_TIME_S and 0 <= value.nanos < NS_PER_S):
            self.add(field, "is out of range; give a time between the years 1678 and 2261, nanos 0-999,999,999")
        return value.seconds * NS_PER_S + value.nanos

    def duration_ns(self, field: str, value: Duration) -> int:
        """Return a span of time, not negative, as nanoseconds."""
        if not (0 <= value.seconds <= MAX_TIME_S and 0 <= value.nanos < NS_PER_S):
            self.add(field, "is out of range; give 0-292 years, nanos 0-999,999,999")
        return value.seconds * NS_PER_S + value.nanos

    def vector(self, field: str, value: bytes) -> Vector:
        """Return a (dim,) vector of finite numbers, not all zero, from its little-endian float32 bytes."""
        if len(value) % 4 or not value:
            self.add(
                field,
                f"has {len(value):,} bytes; a vector has 4 for each of its {self._dim:,} float32 values",
            )
            return np.zeros(self._dim, np.float32)
        vector = np.frombuffer(value, "<f4").astype(np.float32)
        if not np.isfinite(vector).all():
            self.add(field, "has NaN or infinite values; all must be finite")
        elif not vector.any():
            self.add(field, "is zero, which has no direction; leave the field unset instead")
        elif len(vector) != self._dim:
            self._wrong_dimensions.append((field, len(vector)))
        elif not np.isfinite(norm := float(np.linalg.norm(vector.astype(np.float64)))) or norm > MAX_NORM:
            self.add(field, f"has length {norm:g}; the limit is {MAX_NORM:g}: scale it to unit length")
        return vector


# Beyond it float32 products overflow; embeddings have length 1.
MAX_NORM = 1e6


def timestamp(time_ns: int) -> Timestamp:
    """Return nanoseconds since 1970 as the wire's time."""
    return Timestamp(seconds=time_ns // NS_PER_S, nanos=time_ns % NS_PER_S)
