"""What a model folder says about itself: `manifest.json`, and the check of the folder's files against it.

The file is one JSON object: `format_version` (this module reads version 2) and the fields of `Manifest` by
their names. Unknown fields are ignored, so that later versions can add some; a change of meaning raises the
version.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recwire_server.checksum import file_sha256
from recwire_server.encoder import ModelFolderError

FORMAT_VERSION = 2
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
EXPORT_HINT = "export the model again: recwire-server model export SOURCE --out DIR"


@dataclass(frozen=True)
class Fidelity:
    """How near a model's vectors are to the float32 original's, over `text_count` texts.

    mean_cosine, min_cosine: to the original's vector of the same text. neighbours_kept: share of the original's ten
    nearest texts that the model finds. batch_differences: largest absolute difference of any component between a text
    run alone and in a batch, by kind of batch.
    """

    mean_cosine: float
    min_cosine: float
    neighbours_kept: float
    batch_differences: Mapping[str, float]
    text_count: int

    @property
    def batch_difference(self) -> float:
        """The largest of all kinds of batches; NaN if any is."""
        return float(np.max(list(self.batch_differences.values())))


@dataclass(frozen=True)
class Gate:
    """What a model's fidelity must reach to be published. max_batch_difference: None where texts run alone anyway."""

    min_mean_cosine: float
    min_neighbours_kept: float
    max_batch_difference: float | None

    def shortfalls(self, fidelity: Fidelity) -> list[str]:
        """Return what falls short, each with the figure and the limit; none means passed."""
        lines = []
        # Written so that NaN falls short as well.
        if not fidelity.mean_cosine >= self.min_mean_cosine:
            lines.append(f"mean cosine {fidelity.mean_cosine:.5f} is below {self.min_mean_cosine}")
        if not fidelity.neighbours_kept >= self.min_neighbours_kept:
            lines.append(f"top-10 neighbours kept {fidelity.neighbours_kept:.4f} is below {self.min_neighbours_kept}")
        if self.max_batch_difference is not None and not fidelity.batch_difference <= self.max_batch_difference:
            lines.append(f"batch difference {fidelity.batch_difference:.1e} is above {self.max_batch_difference:.0e}")
        return lines


@dataclass(frozen=True)
class FileDigest:
    """The size and the SHA-256 (hex) that a file must have."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A model folder's description.

    name: for people. source: as it was named at export. source_hash: SHA-256 of the source's files.
    recipe_key: hash of everything that the export depends on; the same key means the same result.
    max_tokens: of one sequence, special tokens included. pooling: "mean", "cls" or "lasttoken".
    query_prefix, document_prefix: put before a text by what it is embedded for.
    quantization_target: the processor family that the integer weights suit; empty without any.
    weight_bits: of the integer weights: 8, or 7 where products of 8 bits saturate; 32 or 16 for floats.
    float32_layers: parts that int8 would have harmed too much. calibration: SHA-256 of the texts that the export
    calibrated with and was checked with.
    batch_invariant: whether a vector is free of what else is in the batch; if not, sequences must run alone.
    tool_versions: of the packages that made the folder. fidelity: as measured at export. gate: what it had to
    reach. files: digests of model.onnx, model.onnx.data and tokenizer.json.
    """

    name: str
    source: str
    source_hash: str
    recipe_key: str
    dim: int
    max_tokens: int
    pooling: str
    query_prefix: str
    document_prefix: str
    precision: str
    quantization_target: str
    weight_bits: int
    float32_layers: Sequence[str]
    batch_invariant: bool
    calibration: str
    tool_versions: Mapping[str, str]
    fidelity: Fidelity
    gate: Gate
    files: Mapping[str, FileDigest]

    @cached_property
    def version(self) -> str:
        """16 hex digits that change when an embedding could: a hash of the files, limit and prefixes."""
        content = {
            "files": {name: digest.sha256 for name, digest in self.files.items()},
            "max_tokens": self.max_tokens,
            "prefixes": [self.query_prefix, self.document_prefix],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def load_manifest(folder: Path) -> Manifest:
    """Return the folder's manifest after checking that its files are there, whole and unchanged.

    Reads all files once (15 ms for 23 MB). Raises ModelFolderError.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelFolderError(f"{path} is missing; {EXPORT_HINT}")
        # The size first: it finds a half-copied file without reading it.
        if (size_bytes := path.stat().st_size) != expected.size_bytes:
            raise ModelFolderError(
                f"{path} is damaged: {size_bytes:,} bytes instead of {expected.size_bytes:,}; {EXPORT_HINT}"
            )
        if file_sha256(path) != expected.sha256:
            raise ModelFolderError(f"{path} is damaged: its content is not what was exported; {EXPORT_HINT}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return the folder's manifest without looking at the other files. Raises ModelFolderError."""
    path = folder / MANIFEST_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFolderError(f"{path} is missing, so {folder} is not a model folder; {EXPORT_HINT}") from error
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read: {error}; {EXPORT_HINT}") from error
    if not isinstance(fields, dict) or fields.get("format_version") != FORMAT_VERSION:
        found = fields.get("format_version") if isinstance(fields, dict) else None
        raise ModelFolderError(f"{path} has format_version {found}; this server reads {FORMAT_VERSION}; {EXPORT_HINT}")
    try:
        return _from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFolderError(f"{path} has a missing or wrong field: {error}; {EXPORT_HINT}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the folder; the caller makes it durable."""
    fields = {"format_version": FORMAT_VERSION, **asdict(manifest)}
    text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def digest_files(folder: Path) -> dict[str, FileDigest]:
    """Return the digests of the folder's model, its weights if they are apart, and tokenizer, by file name."""
    paths = (folder / MODEL_FILE, folder / WEIGHTS_FILE, folder / TOKENIZER_FILE)
    return {path.name: FileDigest(path.stat().st_size, file_sha256(path)) for path in paths if path.is_file()}


def _from_json(fields: dict[str, Any]) -> Manifest:
    known = {name: fields[name] for name in Manifest.__dataclass_fields__}
    known["fidelity"] = Fidelity(**{name: fields["fidelity"][name] for name in Fidelity.__dataclass_fields__})
    known["gate"] = Gate(**{name: fields["gate"][name] for name in Gate.__dataclass_fields__})
    known["files"] = {name: FileDigest(**digest) for name, digest in fields["files"].items()}
    manifest = Manifest(**known)
    if manifest.dim < 1 or manifest.max_tokens < 3:
        raise ValueError(f"dim {manifest.dim}, max_tokens {manifest.max_tokens}")
    if missing := {MODEL_FILE, TOKENIZER_FILE} - set(manifest.files):
        raise ValueError(f"files without {', '.join(sorted(missing))}")
    return manifest
