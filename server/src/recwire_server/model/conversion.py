"""The graph that serves, in each precision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnxruntime

from recwire_server.model import Report
from recwire_server.model.float16 import to_float16
from recwire_server.model.int8.quantize import quantize_per_token
from recwire_server.model.manifest import WEIGHTS_FILE, Fidelity
from recwire_server.model.pooling import add_pooling
from recwire_server.model.processor import weight_bits
from recwire_server.model.recipe import Precision, Recipe
from recwire_server.model.simplification import simplified


@dataclass(frozen=True)
class Converted:
    """What became of the weights; see Manifest."""

    weight_bits: int
    float32_layers: list[str] = field(default_factory=list)


def convert(
    original: Path,
    recipe: Recipe,
    calibration: Sequence[Sequence[int]],
    seed: int,
    measure: Callable[[bytes], Fidelity],
    destination: Path,
    report: Report,
) -> Converted:
    """Write the graph that serves to `destination`: ids and mask in, unit-length embedding out.

    original: as Optimum traced it. calibration: sequences of token ids. measure: compares a graph with the original.
    """
    pooling = recipe.settings.pooling
    if recipe.precision is Precision.INT8_DYNAMIC:
        from recwire_server.model.dynamic_int8 import quantize

        report(f"quantize to dynamic int8 for {recipe.quantization_target}")
        quantized = quantize(original.parent, recipe.quantization_target)
        _save_optimized(add_pooling(onnx.load(quantized), pooling), destination)
        return Converted(weight_bits=8)
    report(f"add {pooling} pooling and unit length")
    traced = onnx.load(original)
    if recipe.precision is Precision.FP16:
        # The pooling stays in float32: it adds and squares what float16 may only just hold. Not optimised here: CUDA
        # fuses otherwise than the CPU, at load.
        onnx.save(simplified(add_pooling(to_float16(traced), pooling)), destination)
        return Converted(weight_bits=16)
    pooled = simplified(add_pooling(traced, pooling))
    if recipe.precision is Precision.FP32:
        _save_optimized(pooled, destination)
        return Converted(weight_bits=32)
    bits = weight_bits(recipe.quantization_target)
    result = quantize_per_token(
        pooled,
        calibration,
        weight_levels=2 ** (bits - 1) - 1,
        seed=seed,
        gate=recipe.precision.gate,
        measure=lambda model: measure(model.SerializeToString()),
        report=report,
    )
    _save_optimized(result.model, destination)
    return Converted(bits, result.float32_layers)


def _save_optimized(model: onnx.ModelProto, destination: Path) -> None:
    """Save the graph as ONNX Runtime fuses it for any CPU, which a server then need not do at every start.

    The weights lie beside it, where ONNX Runtime maps them into memory instead of reading them.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(destination)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS_FILE)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
