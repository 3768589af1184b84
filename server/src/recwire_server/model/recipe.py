"""Everything that an export's result depends on, as one key."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from importlib import metadata

from recwire_server.model import ModelExportError
from recwire_server.model.manifest import Gate
from recwire_server.model.processor import detect_quantization_target
from recwire_server.model.settings import EmbeddingSettings
from recwire_server.model.source import Source

# Raised whenever the pipeline would make another folder from the same source and tools.
RECIPE_VERSION = 5
TOOLS = ("optimum", "optimum-onnx", "onnx", "onnxruntime", "torch", "transformers")


class Precision(Enum):
    """What the model's weights are stored and multiplied as.

    INT8: every token's activations have their own scale, so that a vector does not depend on the batch; the default
    on the CPU. INT8_DYNAMIC: Optimum's own, one scale for all; for comparison. FP16: the default on CUDA.
    """

    INT8 = "int8"
    FP32 = "fp32"
    FP16 = "fp16"
    INT8_DYNAMIC = "int8-dynamic"

    @property
    def batch_invariant(self) -> bool:
        """Whether a vector is free of what else is in the batch, to 1e-6."""
        return self in (Precision.INT8, Precision.FP32)

    @property
    def gate(self) -> Gate:
        """What the fidelity must reach."""
        return GATES[self]


GATES = {
    Precision.FP32: Gate(min_mean_cosine=0.99999, min_neighbours_kept=0.999, max_batch_difference=1e-6),
    Precision.FP16: Gate(min_mean_cosine=0.9999, min_neighbours_kept=0.98, max_batch_difference=None),
    Precision.INT8: Gate(min_mean_cosine=0.998, min_neighbours_kept=0.95, max_batch_difference=1e-6),
    # .9935 and .88 are usual; far below that a layer was damaged, not rounded.
    Precision.INT8_DYNAMIC: Gate(min_mean_cosine=0.97, min_neighbours_kept=0.7, max_batch_difference=None),
}


@dataclass(frozen=True)
class Recipe:
    """How one source is exported on one machine.

    quantization_target: empty without integers. texts_hash: of what it is calibrated and checked with.
    """

    source_hash: str
    precision: Precision
    quantization_target: str
    settings: EmbeddingSettings
    texts_hash: str
    tool_versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """64 hex digits; equal keys mean equal model folders, up to names."""
        content = {"recipe": RECIPE_VERSION, **asdict(self), "precision": self.precision.value}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_recipe(source: Source, precision: Precision, settings: EmbeddingSettings, texts: Sequence[str]) -> Recipe:
    """Return the recipe for this machine and the installed tools.

    Imports none of the tools. Raises ModelExportError if one is missing.
    """
    target = detect_quantization_target() if precision in (Precision.INT8, Precision.INT8_DYNAMIC) else ""
    texts_hash = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return Recipe(source.content_hash(), precision, target, settings, texts_hash, _tool_versions())


def _tool_versions() -> dict[str, str]:
    try:
        return {tool: metadata.version(tool) for tool in TOOLS}
    except metadata.PackageNotFoundError as error:
        raise ModelExportError(
            f"exporting needs the package {error.name}; pip install 'recwire-server[export]'"
        ) from error
