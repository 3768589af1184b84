"""Vectors as the wire carries them: float32, little-endian."""

import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

try:
    import numpy as np
except ImportError:  # a client needs no numpy: array("f") takes its place
    np = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32] | array[float]
    VectorLike: TypeAlias = bytes | Vector | Sequence[float]


def to_bytes(vector: "VectorLike") -> bytes:
    """Return a vector as `Event.vector` and `Item.vector` take it.

    Takes a numpy array of one dimension, an `array`, any sequence of numbers, or bytes, which pass as they
    are. Raises ValueError for more dimensions than one.
    """
    if isinstance(vector, bytes):
        return vector
    if np is None:
        return _little_endian(array("f", vector)).tobytes()
    row = np.asarray(vector, dtype="<f4")
    if row.ndim != 1:
        raise ValueError(f"a vector has 1 dimension; this has {row.ndim}")
    return row.tobytes()


def from_bytes(data: bytes) -> "Vector":
    """Return the vector that came as bytes: (dim,) float32.

    A read-only numpy array that shares the bytes where numpy is installed, else an `array("f")`.
    """
    if np is not None:
        return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    vector = array("f")
    vector.frombytes(data)
    return _little_endian(vector)


def _little_endian(vector: "array[float]") -> "array[float]":
    """Swap between the machine's order of bytes and the wire's."""
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
