"""Takes out of a traced graph what every run would compute anew though it never changes.

A trace asks each layer's tensors for their shapes to split them into heads: nearly half of MiniLM's operators.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

# Batch and sequence lengths to look at the graph with. All differ, so that what depends on one shows.
PROBES = ((1, 5), (2, 9), (3, 4))
# Everything that a shape can be turned into without looking at values of tokens.
SHAPE_OPERATORS = {
    *("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Cast", "Sqrt", "Div", "Mul", "Add", "Sub"),
    *("Constant", "Identity", "Reciprocal"),
}


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the computation of shapes, as far as they are the same for all texts.

    model: input_ids and attention_mask in.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    of_shapes = _shape_tensors(graph)
    wanted = {name for node in graph.node for name in _read_shapes(node, of_shapes)}
    reshaped = {node.input[0] for node in graph.node if node.op_type == "Reshape" and node.input[1] in wanted}
    seen = _observe(result, sorted(wanted), sorted(reshaped))
    for number, node in enumerate(graph.node):
        for place, name in enumerate(node.input):
            if name not in wanted or name not in _read_shapes(node, of_shapes):
                continue
            values = [observed[name] for observed in seen]
            constant = _constant(values)
            if constant is None and node.op_type == "Reshape" and place == 1:
                constant = _relative_shape(values, [observed[node.input[0]].shape for observed in seen])
            if constant is not None:
                node.input[place] = f"simplified/{number}/{place}"
                graph.initializer.append(numpy_helper.from_array(constant, node.input[place]))
    _drop_unread(graph)
    return result


def names_read(nodes: Iterable[Any]) -> set[str]:
    """Return the names that the nodes read, and those that the branches of an If or the body of a Loop do."""
    names: set[str] = set()
    for node in nodes:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= names_read(attribute.g.node)
    return names


def _shape_tensors(graph: Any) -> set[str]:
    """Return the tensors that depend on nothing but the shapes of others."""
    constants = {tensor.name for tensor in graph.initializer}
    of_shapes: set[str] = set()
    for node in graph.node:  # each comes after what it reads
        inputs = {name for name in node.input if name}
        if node.op_type == "Shape" or (
            node.op_type in SHAPE_OPERATORS and inputs & of_shapes and inputs <= of_shapes | constants
        ):
            of_shapes.update(node.output)
        elif node.op_type == "Constant":
            constants.update(node.output)
    return of_shapes


def _read_shapes(node: Any, of_shapes: set[str]) -> list[str]:
    """Return what a node that works on tokens takes from shapes."""
    if node.output[0] in of_shapes:
        return []
    return [name for name in node.input if name in of_shapes]


def _observe(model: onnx.ModelProto, wanted: Sequence[str], reshaped: Sequence[str]) -> list[dict[str, NDArray[Any]]]:
    """Return the values of `wanted`, and of the tensors that are reshaped, for each probe."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    names = [*dict.fromkeys([*wanted, *reshaped])]
    del observed.graph.output[:]
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    probes = []
    for shape in PROBES:
        ones = np.ones(shape, np.int64)
        values = session.run(names, {"input_ids": ones, "attention_mask": ones})
        probes.append(dict(zip(names, map(np.asarray, values), strict=True)))
    return probes


def _constant(values: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    return values[0] if all(np.array_equal(values[0], other) for other in values[1:]) else None


def _relative_shape(targets: Sequence[NDArray[Any]], inputs: Sequence[tuple[int, ...]]) -> NDArray[np.int64] | None:
    """Return a Reshape's target that fits all probes: 0 keeps a length of the input, -1 is what is left."""
    entries = []
    for place, lengths in enumerate(zip(*targets, strict=True)):
        if len({int(length) for length in lengths}) == 1:
            entries.append(int(lengths[0]))
        elif all(place < len(shape) and length == shape[place] for length, shape in zip(lengths, inputs, strict=True)):
            entries.append(0)
        else:
            entries.append(-1)
    return np.array(entries, np.int64) if entries.count(-1) <= 1 else None


def _drop_unread(graph: Any) -> None:
    """Remove the nodes and constants that nothing reads any more."""
    read = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read.isdisjoint(node.output):
            continue
        kept.append(node)
        read |= names_read([node])
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    _replace(graph.node, reversed(kept))
    _replace(graph.initializer, constants)


def _replace(field: Any, values: Iterable[Any]) -> None:
    values = list(values)
    del field[:]
    field.extend(values)
