"""What can be quantized: the places of a graph where activations meet constant weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Projection:
    """A MatMul, or a Gemm as decoders have it, with constant weights.

    output: the name of its result, which no other node has. weights: (inputs, outputs) float32. bias: the name of a
    Gemm's third input, empty where there is none.
    """

    output: str
    weights: Floats
    bias: str


@dataclass(frozen=True)
class Site:
    """Projections that read the same activations (query, key and value, say), which are quantized once for all.

    activations: the name of what they read, (..., inputs) float32.
    """

    activations: str
    projections: Sequence[Projection]

    @property
    def weights(self) -> Floats:
        """Those of all projections side by side, (inputs, outputs)."""
        return np.concatenate([projection.weights for projection in self.projections], axis=1)

    @property
    def name(self) -> str:
        """The first projection's result without slashes at its ends, as the manifest has it."""
        return self.projections[0].output.strip("/")


def find_sites(model: onnx.ModelProto) -> list[Site]:
    """Return the sites in the order in which the graph reaches them."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, list[Projection]] = {}
    for node in model.graph.node:
        if projection := _projection(node, constants):
            found.setdefault(node.input[0], []).append(projection)
    return [Site(activations, projections) for activations, projections in found.items()]


def _projection(node: Any, constants: Mapping[str, Any]) -> Projection | None:
    if node.op_type not in ("MatMul", "Gemm") or node.input[0] in constants or node.input[1] not in constants:
        return None
    weights = numpy_helper.to_array(constants[node.input[1]])
    if weights.ndim != 2 or weights.dtype != np.float32:
        return None
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if attributes.pop("transB", 0):
        weights = weights.T
    # Scaled or transposed products are not how any known family is traced.
    if any(attributes.get(name, plain) != plain for name, plain in (("alpha", 1), ("beta", 1), ("transA", 0))):
        return None
    return Projection(node.output[0], weights, bias=node.input[2] if len(node.input) > 2 else "")
