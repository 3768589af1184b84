"""The integer operators: what stands in a graph where a site was.

For each token x (a row): its smoothed channels s = x / smoothing, its size m = max(max s, -min s * (255 - z) / z), its
integers q = round(s * (255 - z) / m) + z; then the integer product with the weights, times each output's scale, and
last times m. ONNX Runtime would fuse the last two, were they one product, into an operator that takes one scale for all
tokens, and quietly ruin the result; they stay apart and in this order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from recwire_server.model.int8.scaling import Scaling
from recwire_server.model.int8.site import Projection, Site
from recwire_server.model.simplification import names_read

CONTRIB = "com.microsoft"
# Smaller tables (positions, token types) are not worth a cast.
MIN_TABLE_ROWS = 1_000
# Keeps a token of zeros from being divided by zero.
TINY = np.float32(1e-12)


@dataclass(frozen=True)
class QuantizedSite:
    """A site with its scaling and its integers, (inputs, outputs of all projections) int8."""

    site: Site
    scaling: Scaling
    integers: NDArray[np.int8]


def with_integer_sites(model: onnx.ModelProto, quantized: Sequence[QuantizedSite]) -> onnx.ModelProto:
    """Return the model with these sites in int8 and the word table in float16, half its size and exact to 2^-11."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    # At a site's first projection the activations are there; what reads the others' results comes later still.
    replacements: dict[str, list[Any]] = {}
    constants: list[Any] = [*_shared_constants()]
    for number, one in enumerate(quantized):
        nodes, own_constants = _site_nodes(f"int8/{number}", one)
        constants += own_constants
        replacements.update({projection.output: [] for projection in one.site.projections})
        replacements[one.site.projections[0].output] = nodes
    table_nodes, tables = _half_tables(graph)
    replacements.update(table_nodes)
    nodes = [new for node in graph.node for new in replacements.get(node.output[0], [node])]
    read = names_read(nodes)
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *(tensor for tensor in (*constants, *tables) if tensor.name in read)])
    if all(opset.domain != CONTRIB for opset in result.opset_import):
        result.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return result


def _shared_constants() -> list[Any]:
    values = {"int8/one": np.float32(1), "int8/tiny": TINY, "int8/last_axis": np.array([-1], np.int64)}
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _site_nodes(prefix: str, quantized: QuantizedSite) -> tuple[list[Any], list[Any]]:
    scaling, zero_point = quantized.scaling, quantized.scaling.zero_point
    levels = np.float32(255 - zero_point)
    values: dict[str, Any] = {
        f"{prefix}/inverse_smoothing": 1 / scaling.smoothing,
        f"{prefix}/zero_point": np.uint8(zero_point),
        f"{prefix}/levels": levels,
        f"{prefix}/negative_share": np.float32(-levels / zero_point),
    }
    nodes = _token_nodes(prefix, quantized.site.activations)
    start = 0
    for number, projection in enumerate(quantized.site.projections):
        part = slice(start, start := start + projection.weights.shape[1])
        values[f"{prefix}/{number}/weights"] = quantized.integers[:, part]
        values[f"{prefix}/{number}/scales"] = scaling.weight_scales[part] / levels
        nodes += _projection_nodes(prefix, number, projection)
    constants = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items()]
    # ascontiguousarray gives a scalar an axis, which these operators do not take.
    for tensor in constants:
        if tensor.name.endswith(("/zero_point", "/levels", "/negative_share")):
            del tensor.dims[:]
    return nodes, constants


def _token_nodes(prefix: str, activations: str) -> list[Any]:
    smooth, size = f"{prefix}/smooth", f"{prefix}/size"
    return [
        helper.make_node("Mul", [activations, f"{prefix}/inverse_smoothing"], [smooth]),
        helper.make_node("ReduceMax", [smooth, "int8/last_axis"], [f"{prefix}/highest"], keepdims=1),
        helper.make_node("ReduceMin", [smooth, "int8/last_axis"], [f"{prefix}/lowest"], keepdims=1),
        helper.make_node("Mul", [f"{prefix}/lowest", f"{prefix}/negative_share"], [f"{prefix}/depth"]),
        helper.make_node("Max", [f"{prefix}/highest", f"{prefix}/depth", "int8/tiny"], [size]),
        helper.make_node("Div", [f"{prefix}/levels", size], [f"{prefix}/steps"]),
        helper.make_node("Mul", [smooth, f"{prefix}/steps"], [f"{prefix}/scaled"]),
        helper.make_node(
            "QuantizeLinear", [f"{prefix}/scaled", "int8/one", f"{prefix}/zero_point"], [f"{prefix}/integers"]
        ),
    ]


def _projection_nodes(prefix: str, number: int, projection: Projection) -> list[Any]:
    product, result = f"{prefix}/{number}/product", projection.output
    unbiased = f"{prefix}/{number}/unbiased" if projection.bias else result
    inputs = [
        f"{prefix}/integers",
        f"{prefix}/{number}/weights",
        "int8/one",
        f"{prefix}/{number}/scales",
        f"{prefix}/zero_point",
    ]
    nodes = [
        helper.make_node("MatMulIntegerToFloat", inputs, [product], domain=CONTRIB),
        helper.make_node("Mul", [product, f"{prefix}/size"], [unbiased]),
    ]
    if projection.bias:
        nodes.append(helper.make_node("Add", [unbiased, projection.bias], [result]))
    return nodes


def _half_tables(graph: Any) -> tuple[Mapping[str, list[Any]], list[Any]]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: dict[str, list[Any]] = {}
    tables: dict[str, Any] = {}
    for node in graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT or table.dims[0] < MIN_TABLE_ROWS:
            continue
        half, rows = f"{table.name}/half", f"{node.output[0]}/half"
        tables[half] = numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), half)
        gather = helper.make_node("Gather", [half, node.input[1]], [rows])
        gather.attribute.extend(node.attribute)
        nodes[node.output[0]] = [gather, helper.make_node("Cast", [rows], [node.output[0]], to=TensorProto.FLOAT)]
    return nodes, list(tables.values())
