"""Graph surgery: a transformer that gives token vectors becomes one that gives embeddings.

Pooling and unit length are part of the graph, so that every reader of model.onnx gets the same embedding from
ids and mask.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from recwire_server.model import ModelExportError

TOKEN_VECTORS = "last_hidden_state"
EMBEDDING = "embedding"
INPUTS = ("input_ids", "attention_mask")
TOKEN_TYPES = "token_type_ids"
POSITIONS = "position_ids"


def add_pooling(model: onnx.ModelProto, pooling: str) -> onnx.ModelProto:
    """Return the model with inputs input_ids and attention_mask and one output, `embedding`.

    model: gives last_hidden_state (batch, sequence, dim) float32. pooling: "mean" over the tokens of the
    mask, "cls" or "lasttoken" of the mask. Inputs are (batch, sequence) int64, padded on the right; the output is
    (batch, dim) float32 of unit length. Token type ids become zeros inside the graph, position ids the count of
    the mask's tokens before each. Raises ModelExportError for a graph of other inputs or outputs.
    """
    graph = model.graph
    _check_inputs(graph)
    dim = _token_vectors_dim(graph)
    pooling_nodes = {"mean": _mean_nodes, "cls": _cls_nodes, "lasttoken": _last_token_nodes}[pooling]()
    before, after = _derived_input_nodes(graph), [*pooling_nodes, *_unit_length_nodes()]
    pooled = helper.make_graph(
        [*before, *graph.node, *after],
        "recwire",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUTS],
        [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", dim])],
        [*graph.initializer, *_constants([*before, *after])],
    )
    result = helper.make_model(pooled, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(result)
    return result


def _check_inputs(graph: Any) -> None:
    names = {graph_input.name for graph_input in graph.input}
    if others := names - {*INPUTS, TOKEN_TYPES, POSITIONS}:
        raise ModelExportError(f"the model also asks for {', '.join(sorted(others))}; name a model of texts alone")


def _token_vectors_dim(graph: Any) -> int:
    shapes = {output.name: output.type.tensor_type.shape.dim for output in graph.output}
    if TOKEN_VECTORS not in shapes:
        raise ModelExportError(f"the model has no {TOKEN_VECTORS}; name an encoder or a decoder of texts")
    return int(shapes[TOKEN_VECTORS][2].dim_value)


def _derived_input_nodes(graph: Any) -> list[Any]:
    names = {graph_input.name for graph_input in graph.input}
    nodes = []
    if TOKEN_TYPES in names:  # BERT has them
        zero = helper.make_tensor("value", TensorProto.INT64, [1], [0])
        nodes.append(helper.make_node("Shape", ["input_ids"], ["pool/ids_shape"]))
        nodes.append(helper.make_node("ConstantOfShape", ["pool/ids_shape"], [TOKEN_TYPES], value=zero))
    if POSITIONS in names:  # decoders do
        nodes.append(helper.make_node("CumSum", ["attention_mask", "pool/one"], [POSITIONS], exclusive=1))
    return nodes


def _mean_nodes() -> list[Any]:
    return [
        helper.make_node("Cast", ["attention_mask"], ["pool/mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["pool/mask", "pool/last_axis"], ["pool/mask_column"]),
        helper.make_node("Mul", [TOKEN_VECTORS, "pool/mask_column"], ["pool/masked"]),
        helper.make_node("ReduceSum", ["pool/masked", "pool/tokens_axis"], ["pool/sum"], keepdims=0),
        helper.make_node("ReduceSum", ["pool/mask_column", "pool/tokens_axis"], ["pool/count"], keepdims=0),
        helper.make_node("Max", ["pool/count", "pool/tiny"], ["pool/safe_count"]),
        helper.make_node("Div", ["pool/sum", "pool/safe_count"], ["pool/pooled"]),
    ]


def _cls_nodes() -> list[Any]:
    return [helper.make_node("Gather", [TOKEN_VECTORS, "pool/first"], ["pool/pooled"], axis=1)]


def _last_token_nodes() -> list[Any]:
    return [
        helper.make_node("ReduceSum", ["attention_mask", "pool/tokens_axis"], ["pool/count"], keepdims=1),
        helper.make_node("Sub", ["pool/count", "pool/one"], ["pool/last"]),
        helper.make_node("GatherND", [TOKEN_VECTORS, "pool/last"], ["pool/pooled"], batch_dims=1),
    ]


def _unit_length_nodes() -> list[Any]:
    # Not ReduceL2: its axes moved from attribute to input in opset 18, ReduceSum's did in 13.
    return [
        helper.make_node("Mul", ["pool/pooled", "pool/pooled"], ["pool/squares"]),
        helper.make_node("ReduceSum", ["pool/squares", "pool/last_axis"], ["pool/square_sum"], keepdims=1),
        helper.make_node("Sqrt", ["pool/square_sum"], ["pool/norm"]),
        helper.make_node("Max", ["pool/norm", "pool/tiny"], ["pool/safe_norm"]),
        helper.make_node("Div", ["pool/pooled", "pool/safe_norm"], [EMBEDDING]),
    ]


def _constants(nodes: list[Any]) -> list[Any]:
    constants: dict[str, NDArray[Any]] = {
        "pool/tokens_axis": np.array([1], np.int64),
        "pool/last_axis": np.array([-1], np.int64),
        "pool/first": np.array(0, np.int64),
        "pool/one": np.array(1, np.int64),  # also the tokens' axis where that must be a scalar
        # Keeps a row without tokens at zero instead of NaN.
        "pool/tiny": np.array(1e-12, np.float32),
    }
    # ONNX Runtime warns at every load of one that no node reads.
    used = {name for node in nodes for name in node.input}
    return [numpy_helper.from_array(constants[name], name) for name in constants if name in used]
