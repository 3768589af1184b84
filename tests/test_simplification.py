"""A graph without the computation of shapes gives what it gave with it, for batches of every shape."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from recwire_server.model.simplification import simplified

DIM, HEADS = 8, 2
INPUTS = ("input_ids", "attention_mask")


def make_model(*more: onnx.NodeProto, given: str) -> onnx.ModelProto:
    """Rows of a table by token, split into heads as a trace does it; then more nodes, and `given` is what it gives."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["batch and sequence"]),
        helper.make_node("Concat", ["batch and sequence", "head shape"], ["target"], axis=0),
        helper.make_node("Reshape", ["tokens", "target"], ["heads"]),
        *more,
    ]
    constants = {
        "table": np.random.default_rng(1).normal(size=(10, DIM)).astype(np.float32),
        "zero": np.array([0]),
        "two": np.array([2]),
        "head shape": np.array([HEADS, DIM // HEADS]),
        "yes": np.array(True),
        "only here": np.float32(1),
    }
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUTS],
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items() if name in read | {"only here"}],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, shape: tuple[int, int]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(2).integers(0, 10, shape)
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5), (5, 3), (2, 2), (32, 64)])
def test_result_is_the_same_for_batches_of_every_shape(shape):
    """Batches of shapes that were never looked at give the same values, and none of the shape operators is left."""
    model = make_model(given="heads")

    simple = simplified(model)

    np.testing.assert_array_equal(run(simple, shape), run(model, shape))
    assert [node.op_type for node in simple.graph.node] == ["Gather", "Reshape"]


def test_what_only_a_branch_reads_is_kept():
    """Constants and results that nothing but a branch of an If reads are still there."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["heads", "only here"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, operator in (("then", "Add"), ("else", "Sub"))
    }
    model = make_model(helper.make_node("If", ["yes"], ["chosen"], **branches), given="chosen")

    simple = simplified(model)

    np.testing.assert_array_equal(run(simple, (3, 5)), run(model, (3, 5)))


def test_original_is_not_changed():
    """The model that was given is as it was."""
    model = make_model(given="heads")
    before = model.SerializeToString()

    simplified(model)

    assert model.SerializeToString() == before
