"""Text to embeddings.

Read in this order: this module (what an encoder is), `tokenization` (a text becomes sequences of token ids),
`chunk` (where a long text is cut), `onnx` (the encoder that serves), `device` (where it runs), `session` (its graph
there), `padding` (sequences become the model's inputs), `embedding` (sequences' vectors become a text's embedding);
then how requests share all of it: `embedder` (what callers await), `cache` (embeddings that were made before),
`batcher` (the threads that the encoder runs on), `queue` (what waits for them). `recwire_server.testing` has a second,
deterministic encoder for tests.

Errors: `EncoderError` is the root. `TextError` is the caller's to mend, either a `TextTooLongError` or an
`InvalidTextError`; `ModelFolderError` and `DeviceError` (of `device`) are the operator's. `OverloadedError` and
`StoppedError` pass by themselves; `DeadlineError` comes when nobody waits any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Purpose(StrEnum):
    """What a text is embedded for: some model families put another prefix before each."""

    QUERY = "query"
    DOCUMENT = "document"


class LongText(StrEnum):
    """What happens to a text of more tokens than the model takes."""

    MEAN_OF_CHUNKS = "mean_of_chunks"
    TRUNCATE = "truncate"
    REJECT = "reject"


class Priority(IntEnum):
    """Whose work runs first. A value's number is its rank, the first first."""

    INTERACTIVE = 0  # somebody waits for the answer
    BULK = 1  # imports and streams


@dataclass(frozen=True)
class ModelVersion:
    """Names the model that made an embedding: `name` for people, `version` is a hash of its content."""

    name: str
    version: str


@dataclass(frozen=True)
class Embedding:
    """One text's embedding.

    vector: (dim,) float32, unit length. token_count: tokens of the whole text, prefix and special tokens
    included. truncated: whether tokens were left out.
    """

    vector: Vector
    token_count: int
    truncated: bool


@dataclass(frozen=True)
class TokenizedText:
    """A text as the model takes it.

    sequences: token ids, one sequence a chunk of the text, each with its prefix and special tokens and at most the
    model's limit long; at least one, and none is empty. head: the sequence that holds as much of the text's beginning
    as fits; of a short text, its only sequence. token_count: of the whole text as one sequence, prefix and special
    tokens included.
    """

    sequences: Sequence[Sequence[int]]
    head: Sequence[int]
    token_count: int


class EncoderError(Exception):
    """The root of what an encoder raises."""


class TextError(EncoderError):
    """One text cannot be embedded as the caller asked.

    text_index: the text's place in the request. Whoever split the request sets it anew, and the message
    follows.
    """

    def __init__(self, text_index: int) -> None:
        super().__init__(text_index)
        self.text_index = text_index


class TextTooLongError(TextError):
    """A text has more tokens than the model takes, and the caller asked to have it rejected."""

    def __init__(self, text_index: int, token_count: int, max_tokens: int) -> None:
        super().__init__(text_index)
        self.token_count = token_count
        self.max_tokens = max_tokens

    def __str__(self) -> str:
        return f"text {self.text_index} has {self.token_count:,} tokens; the limit is {self.max_tokens:,}"


class InvalidTextError(TextError):
    """A text is not Unicode: it has a lone surrogate, at `position` (characters from 0)."""

    def __init__(self, text_index: int, position: int) -> None:
        super().__init__(text_index)
        self.position = position

    def __str__(self) -> str:
        return f"text {self.text_index} is not valid Unicode: lone surrogate at character {self.position}"


class ModelFolderError(EncoderError):
    """A model folder is missing, incomplete or damaged; the message names the file and the way out."""


class OverloadedError(EncoderError):
    """More waits for the encoder than may, or than it can do before the deadline: try again after `retry_delay_s`."""

    def __init__(self, description: str, retry_delay_s: float) -> None:
        super().__init__(description)
        self.retry_delay_s = retry_delay_s


class DeadlineError(EncoderError):
    """The deadline passed before the texts reached the model."""


class StoppedError(EncoderError):
    """The server stopped before the texts reached the model."""


class Encoder(Protocol):
    """Makes embeddings in two steps. Blocking; safe to call from many threads."""

    @property
    def dim(self) -> int:
        """Length of every vector."""

    @property
    def model(self) -> ModelVersion:
        """The model that makes the embeddings."""

    @property
    def max_tokens(self) -> int:
        """Tokens that one sequence may have, special tokens included."""

    @property
    def batch_invariant(self) -> bool:
        """Whether a vector is free of what else is in the batch. If not, every sequence must run alone."""

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        """Return the tokens of each text, in order; takes some 20 us for a title.

        An empty text is a text of special tokens only, of one where the model's texts have none. Raises
        InvalidTextError for a text that is not Unicode.
        """

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Return the unit-length vectors of the sequences as one batch, (len(sequences), dim), in order.

        Sequences of other lengths are padded to the longest, so that sequences of near lengths cost least.
        """
