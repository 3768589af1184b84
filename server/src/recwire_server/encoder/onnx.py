"""The encoder that serves: a model folder on ONNX Runtime."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from recwire_server.encoder import ModelFolderError, ModelVersion, Purpose, TokenizedText, Vector
from recwire_server.encoder.device import Device, DeviceError, mismatch
from recwire_server.encoder.padding import padded
from recwire_server.encoder.session import load_session
from recwire_server.encoder.tokenization import Tokenization
from recwire_server.model.manifest import (
    EXPORT_HINT,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    load_manifest,
)
from recwire_server.model.processor import detect_quantization_target

logger = logging.getLogger(__name__)


class OnnxEncoder:
    """Makes embeddings with an exported model. Safe to call from many threads; ONNX Runtime releases the GIL.

    Owns nothing that changes.
    """

    def __init__(self, manifest: Manifest, tokenization: Tokenization, session: Any) -> None:
        self._manifest = manifest
        self._tokenization = tokenization
        self._session = session

    @classmethod
    def load(cls, model_dir: Path, device: Device = Device.CPU, intra_op_threads: int = 1) -> Self:
        """Return the encoder of a model folder, its files checked. Takes about 0.1 s for MiniLM in int8.

        intra_op_threads: cores that one call may use; 1 gives the most texts a CPU second.
        Raises ModelFolderError, and DeviceError if the device cannot be had.
        """
        manifest = load_manifest(model_dir)
        prefixes = {Purpose.QUERY: manifest.query_prefix, Purpose.DOCUMENT: manifest.document_prefix}
        try:
            tokenization = Tokenization.load(model_dir / TOKENIZER_FILE, manifest.max_tokens, prefixes)
            session = load_session(model_dir / MODEL_FILE, device, intra_op_threads)
        except DeviceError:
            raise
        except Exception as error:  # both raise plain Exception for content they cannot use
            raise ModelFolderError(f"{model_dir} cannot be loaded: {error}; {EXPORT_HINT}") from error
        dim = session.get_outputs()[0].shape[-1]
        if dim != manifest.dim:
            raise ModelFolderError(
                f"{model_dir}: {MANIFEST_FILE} says {manifest.dim} dimensions, {MODEL_FILE} has {dim}; {EXPORT_HINT}"
            )
        if wrong := mismatch(manifest.precision, manifest.quantization_target, device, detect_quantization_target()):
            logger.warning("%s: %s", model_dir, wrong)
        return cls(manifest, tokenization, session)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._manifest.dim

    @property
    def model(self) -> ModelVersion:
        """The model that makes the embeddings."""
        return ModelVersion(self._manifest.name, self._manifest.version)

    @property
    def max_tokens(self) -> int:
        """Tokens that one sequence may have, special tokens included."""
        return self._manifest.max_tokens

    @property
    def batch_invariant(self) -> bool:
        """Whether a vector is free of what else is in the batch."""
        return self._manifest.batch_invariant

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        """Return the tokens of each text, in order; see Encoder."""
        return self._tokenization.tokenize(texts, purpose)

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Return the vectors of the sequences as one batch, (len(sequences), dim); see Encoder."""
        (embeddings,) = self._session.run(["embedding"], padded(sequences))
        result: Vector = embeddings
        return result
