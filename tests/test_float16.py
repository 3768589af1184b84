"""A graph in float16: rounded weights, but the same indices."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from recwire_server.model.float16 import to_float16


def make_model() -> onnx.ModelProto:
    """Rows of a table by the logarithm of a distance, as MPNet has them, but more of them."""
    nodes = [
        helper.make_node("Cast", ["distances"], ["as float"], to=TensorProto.FLOAT),
        helper.make_node("Log", ["as float"], ["logarithm"]),
        helper.make_node("Mul", ["logarithm", "rows by logarithm"], ["row"]),
        helper.make_node("Cast", ["row"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["y"]),
    ]
    random = np.random.default_rng(1)
    constants = {
        "rows by logarithm": np.float32(30),
        "table": np.repeat(np.arange(150, dtype=np.float32)[:, np.newaxis], 4, axis=1),
        "weights": random.uniform(0.5, 1, size=(4, 1)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("distances", TensorProto.INT64, ["count"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["count", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, distances: np.ndarray) -> np.ndarray:
    """Without fusion, so that float16 is float16."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"distances": distances})[0]


def test_indices_are_those_of_float32():
    """What becomes an index is computed as in float32, so that every row is the same one; weights are rounded."""
    distances = np.arange(1, 129)
    expected = run(make_model(), distances)

    converted = to_float16(make_model())

    types = {tensor.name: tensor.data_type for tensor in converted.graph.initializer}
    assert (types["weights"], types["rows by logarithm"]) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    np.testing.assert_allclose(run(converted, distances), expected, rtol=2e-3)


def test_what_only_gives_its_shape_is_rounded():
    """An index made of a tensor's length keeps nothing of its values in float32."""
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["y"]),
        helper.make_node("Shape", ["y"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["lengths"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["lengths"], ["roots"]),
        helper.make_node("Cast", ["roots"], ["z"], to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["count", 4])],
        [helper.make_tensor_value_info("z", TensorProto.INT64, [2])],
        [numpy_helper.from_array(np.ones((4, 9), np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    converted = to_float16(model)

    assert [tensor.data_type for tensor in converted.graph.initializer] == [TensorProto.FLOAT16]
