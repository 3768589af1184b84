"""Everything that an export's result depends on, as one key."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from importlib import metadata

from recwire_server.model import ModelExportError
from recwire_server.model.quantization import detect_quantization_target
from recwire_server.model.settings import EmbeddingSettings
from recwire_server.model.source import Source

# Raised whenever the pipeline would make another folder from the same source and tools.
RECIPE_VERSION = 1
TOOLS = ("optimum", "optimum-onnx", "onnx", "onnxruntime", "torch", "transformers")


class Precision(Enum):
    """What the model's weights are stored and multiplied as."""

    INT8 = "int8"
    FP32 = "fp32"

    @property
    def batch_invariant(self) -> bool:
        """Whether a vector is free of what else is in the batch.

        Dynamic int8 is not: it has one activation scale for the whole tensor.
        """
        return self is Precision.FP32


@dataclass(frozen=True)
class Recipe:
    """How one source is exported on one machine. quantization_target: empty for fp32."""

    source_hash: str
    precision: Precision
    quantization_target: str
    settings: EmbeddingSettings
    tool_versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """64 hex digits; equal keys mean equal model folders, up to names."""
        content = {"recipe": RECIPE_VERSION, **asdict(self), "precision": self.precision.value}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_recipe(source: Source, precision: Precision, settings: EmbeddingSettings) -> Recipe:
    """Return the recipe for this machine and the installed tools.

    Imports none of the tools. Raises ModelExportError if one is missing.
    """
    target = detect_quantization_target() if precision is Precision.INT8 else ""
    return Recipe(source.content_hash(), precision, target, settings, _tool_versions())


def _tool_versions() -> dict[str, str]:
    try:
        return {tool: metadata.version(tool) for tool in TOOLS}
    except metadata.PackageNotFoundError as error:
        raise ModelExportError(
            f"exporting needs the package {error.name}; pip install 'recwire-server[export]'"
        ) from error
