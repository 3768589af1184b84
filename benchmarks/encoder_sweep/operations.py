"""The operations that a model's matrix products take, counted from its graph."""

from math import prod
from pathlib import Path
from typing import Any

COUNTED = ("MatMul", "Gemm")
# Parts of the names of other operators that multiply matrices, fused ones too.
OTHER_PRODUCTS = ("MatMul", "Gemm", "Attention", "Conv", "Einsum")
BATCH_SIZE = 2  # with 1, broadcasts leave it open whether a dimension is 1 or is stretched


def count_operations(graph: Path, token_count: int) -> int:
    """Return the operations of all MatMul and Gemm nodes for one text: 2*m*n*k each, a product and a sum.

    graph: an ONNX file whose inputs are (batch, tokens). Raises ValueError for one with other matrix products (count
    before anything is fused), or with shapes that do not follow from the inputs'.
    """
    import onnx

    model = onnx.load(graph)
    for tensor in model.graph.input:
        for dim, value in zip(tensor.type.tensor_type.shape.dim, (BATCH_SIZE, token_count), strict=True):
            dim.dim_value = value
    shapes = _shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)
    return sum(_node_operations(node, shapes) for node in model.graph.node) // BATCH_SIZE


def _shapes(graph: Any) -> dict[str, list[int]]:
    """Return the shapes that are known, by tensor."""
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for tensor in (*graph.input, *graph.value_info, *graph.output):
        dims = tensor.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[tensor.name] = [dim.dim_value for dim in dims]
    return shapes


def _node_operations(node: Any, shapes: dict[str, list[int]]) -> int:
    if node.op_type not in COUNTED:
        if any(name in node.op_type for name in OTHER_PRODUCTS):
            raise ValueError(
                f"{node.name or node.op_type} is a {node.op_type}; only {' and '.join(COUNTED)} are counted"
            )
        return 0
    left, output = shapes.get(node.input[0]), shapes.get(node.output[0])
    if left is None or output is None:
        raise ValueError(f"{node.name or node.op_type}: its shapes do not follow from those of the graph's inputs")
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    inner = left[0] if transposed else left[-1]
    return 2 * prod(output) * inner
