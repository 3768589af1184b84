"""Text to embeddings.

Read in this order: this module (what an encoder is), `onnx` (the encoder that serves), `workers` (the threads
that it runs on). `recwire_server.testing` has a second, deterministic encoder for tests.

Errors: `EncoderError` is the root. `TextError` is the caller's to mend, either a `TextTooLongError` or an
`InvalidTextError`; `ModelFolderError` is the operator's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Purpose(Enum):
    """What a text is embedded for: some model families put another prefix before each."""

    QUERY = "query"
    DOCUMENT = "document"


class LongText(Enum):
    """What happens to a text of more tokens than the model takes."""

    MEAN_OF_CHUNKS = "mean_of_chunks"
    TRUNCATE = "truncate"
    REJECT = "reject"


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


class Encoder(Protocol):
    """Makes embeddings. Blocking; safe to call from many threads."""

    @property
    def dim(self) -> int:
        """Length of every vector."""

    @property
    def model(self) -> ModelVersion:
        """The model that makes the embeddings."""

    def encode(
        self, texts: Sequence[str], purpose: Purpose, long_text: LongText = LongText.MEAN_OF_CHUNKS
    ) -> list[Embedding]:
        """Return one embedding a text, in order.

        The same text and purpose give the same vector, whatever else is in `texts`. An empty text is a text
        of special tokens only. Raises TextTooLongError if `long_text` is REJECT and a text is too long,
        InvalidTextError for a text that is not Unicode.
        """
