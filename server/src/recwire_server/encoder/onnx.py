"""The encoder that serves: a model folder on ONNX Runtime."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from recwire_server.encoder import (
    Embedding,
    InvalidTextError,
    LongText,
    ModelFolderError,
    ModelVersion,
    Purpose,
    TextTooLongError,
    Vector,
)
from recwire_server.model.manifest import EXPORT_HINT, MODEL_FILE, TOKENIZER_FILE, Manifest, load_manifest

# Sequences of near length, run together: measured best on the CPU, 568 texts a CPU second against 268
# unsorted. More would only pad more.
MAX_BATCH_SIZE = 8


@dataclass(frozen=True)
class Tokens:
    """A text as sequences of token ids, one a chunk of at most max_tokens; each has the special tokens.

    token_count: of the whole text as one sequence, special tokens included.
    """

    chunks: list[list[int]]
    token_count: int


class OnnxEncoder:
    """Makes embeddings with an exported model. Safe to call from many threads; ONNX Runtime releases the GIL.

    Owns nothing that changes: the tokenizer is set up once in `load`, since setting it up is not thread-safe.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer, session: Any) -> None:
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._session = session
        self._special_token_count = tokenizer.num_special_tokens_to_add(is_pair=False)
        self._prefixes = {Purpose.QUERY: manifest.query_prefix, Purpose.DOCUMENT: manifest.document_prefix}

    @classmethod
    def load(cls, model_dir: Path, intra_op_threads: int = 1) -> Self:
        """Return the encoder of a model folder, its files checked. Takes about 0.1 s for MiniLM in int8.

        intra_op_threads: cores that one call may use; 1 gives the most texts a CPU second.
        Raises ModelFolderError.
        """
        manifest = load_manifest(model_dir)
        try:
            tokenizer = Tokenizer.from_file(str(model_dir / TOKENIZER_FILE))
            session = onnxruntime.InferenceSession(
                model_dir / MODEL_FILE, _session_options(intra_op_threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # both raise plain Exception for content they cannot use
            raise ModelFolderError(f"{model_dir} cannot be loaded: {error}; {EXPORT_HINT}") from error
        # Sources bake padding and another length into tokenizer.json. With truncation on, the overflow comes
        # back as further chunks, and all three ways of LongText are made from those.
        tokenizer.no_padding()
        tokenizer.enable_truncation(manifest.max_tokens, stride=0)
        return cls(manifest, tokenizer, session)

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

    def encode(
        self, texts: Sequence[str], purpose: Purpose, long_text: LongText = LongText.MEAN_OF_CHUNKS
    ) -> list[Embedding]:
        """Return one embedding a text, in order.

        The same text and purpose give the same vector, whatever else is in `texts`. A text of several chunks
        is the mean of their embeddings, each weighing the same, scaled to unit length. Raises
        TextTooLongError if `long_text` is REJECT and a text is too long, InvalidTextError for a text that is
        not Unicode.
        """
        tokenized = self._tokenize(texts, purpose)
        if long_text is LongText.REJECT:
            self._reject_long(tokenized)
        if long_text is LongText.TRUNCATE:
            kept = [tokens.chunks[:1] for tokens in tokenized]
        else:
            kept = [tokens.chunks for tokens in tokenized]
        vectors = iter(self._run([chunk for chunks in kept for chunk in chunks]))
        return [
            Embedding(
                vector=_mean_direction([next(vectors) for _ in chunks]),
                token_count=tokens.token_count,
                truncated=len(chunks) < len(tokens.chunks),
            )
            for tokens, chunks in zip(tokenized, kept, strict=True)
        ]

    def _tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[Tokens]:
        _check_unicode(texts)
        prefix = self._prefixes[purpose]
        tokenized = []
        for encoding in self._tokenizer.encode_batch([prefix + text for text in texts]):
            chunks = [encoding.ids, *(overflow.ids for overflow in encoding.overflowing)]
            repeated = self._special_token_count * (len(chunks) - 1)
            tokenized.append(Tokens(chunks, sum(map(len, chunks)) - repeated))
        return tokenized

    def _reject_long(self, tokenized: Iterable[Tokens]) -> None:
        for index, tokens in enumerate(tokenized):
            if len(tokens.chunks) > 1:
                raise TextTooLongError(index, tokens.token_count, self.max_tokens)

    def _run(self, sequences: Sequence[list[int]]) -> list[Vector]:
        """Return the embedding of each sequence, in order."""
        # Where the vector depends on what else is in the batch, and on padding, each sequence runs alone.
        batch_size = MAX_BATCH_SIZE if self._manifest.batch_invariant else 1
        by_length = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        vectors: dict[int, Vector] = {}
        for start in range(0, len(by_length), batch_size):
            batch = by_length[start : start + batch_size]
            vectors.update(zip(batch, self._run_batch([sequences[index] for index in batch]), strict=True))
        return [vectors[index] for index in range(len(sequences))]

    def _run_batch(self, sequences: Sequence[list[int]]) -> Vector:
        """Return the embeddings of the sequences, (len(sequences), dim)."""
        shape = (len(sequences), max(map(len, sequences)))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        (embeddings,) = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})
        result: Vector = embeddings
        return result


def _session_options(intra_op_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    # Parallel execution doubles the CPU time and gains nothing on a chain of layers.
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return options


def _check_unicode(texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidTextError(index, error.start) from error


def _mean_direction(vectors: Sequence[Vector]) -> Vector:
    """Return the mean scaled to unit length; a single vector has it already and stays as it is."""
    if len(vectors) == 1:
        return vectors[0]
    mean: Vector = np.asarray(np.mean(vectors, axis=0, dtype=np.float32))
    direction: Vector = mean / np.linalg.norm(mean)
    return direction
