"""A float32 graph in float16, but for what becomes an index."""

from typing import Any

import onnx
from onnx import TensorProto

INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in float16, with the types of its inputs and outputs as they were.

    What is cut to an index stays in float32, as MPNet's logarithms of the distances between positions: there a little
    less is another row of a table.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # The converter knows nodes by their names.
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node/{number}"
    converted: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, node_block_list=sorted(_index_nodes(model.graph))
    )
    _remove_detours(converted.graph)
    return converted


def _index_nodes(graph: Any) -> set[str]:
    """Return the names of the nodes whose values are cast to integers in the end."""
    makers = {output: node for node in graph.node for output in node.output}
    reached: set[str] = set()
    waiting = [node for node in graph.node if _is_cast(node, *INTEGERS)]
    while waiting:
        node = waiting.pop()
        if node.name in reached or node.op_type == "Shape":  # a shape does not depend on the values
            continue
        reached.add(node.name)
        waiting += [makers[name] for name in node.input if name in makers]
    return reached


def _remove_detours(graph: Any) -> None:
    """Let nodes read in float32 what was made in float32: the converter has it pass through float16 between them."""
    makers = {output: node for node in graph.node for output in node.output}
    direct: dict[str, str] = {}
    for node in graph.node:
        maker = makers.get(node.input[0]) if _is_cast(node, TensorProto.FLOAT) else None
        if maker is not None and _is_cast(maker, TensorProto.FLOAT16):
            direct[node.output[0]] = maker.input[0]
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = direct.get(name, name)


def _is_cast(node: Any, *types: int) -> bool:
    return node.op_type == "Cast" and any(
        attribute.name == "to" and attribute.i in types for attribute in node.attribute
    )
