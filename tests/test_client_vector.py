"""Vectors on the wire and in the hand, with numpy and without."""

import subprocess
import sys
from array import array

import numpy as np
import pytest

import recwire

WIRE = bytes.fromhex("0000803f 000000bf")  # 1 and -0.5, float32 little-endian


@pytest.mark.parametrize(
    "vector",
    [
        WIRE,
        [1, -0.5],
        (1.0, -0.5),
        array("f", [1, -0.5]),
        array("d", [1, -0.5]),
        np.array([1, -0.5]),
        np.array([1, -0.5], dtype=">f4"),
        np.array([[1, 7], [-0.5, 7]], np.float32)[:, 0],
    ],
)
def test_any_vector_goes_onto_the_wire(vector):
    """Whatever holds the numbers, the same bytes come out."""
    assert recwire.to_bytes(vector) == WIRE


def test_a_matrix_is_no_vector():
    """More dimensions than one are refused."""
    with pytest.raises(ValueError, match="this has 2"):
        recwire.to_bytes(np.zeros((2, 2)))


def test_from_bytes_gives_numpy():
    """Bytes come back as a float32 array that shares them."""
    vector = recwire.from_bytes(WIRE)
    assert vector.dtype == np.float32
    assert vector.tolist() == [1, -0.5]
    assert not vector.flags.owndata


def test_without_numpy_vectors_are_arrays():
    """Where numpy is not installed, array("f") takes its place, both ways."""
    code = f"""
import sys
sys.modules["numpy"] = None
from array import array
import recwire
wire = {WIRE!r}
assert recwire.from_bytes(wire) == array("f", [1, -0.5])
for vector in ([1, -0.5], array("f", [1, -0.5]), wire):
    assert recwire.to_bytes(vector) == wire
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_client_needs_grpc_alone():
    """The client can be imported where only grpcio, protobuf and the google.rpc messages are installed."""
    code = """
import sys

class Bare:
    installed = {"recwire", "grpc", "google", "typing_extensions"} | sys.stdlib_module_names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.installed:
            raise ImportError(name)

sys.meta_path.insert(0, Bare())
import recwire
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
