"""Embeddings as a caller gets them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recwire import errors
from recwire.v1.model_pb2 import ModelVersion
from recwire.v1.recommender_service_pb2 import EmbedResponse, EmbedStreamResponse
from recwire.vector import from_bytes

if TYPE_CHECKING:
    from recwire.vector import Vector


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of some texts, in the order of the texts.

    vectors: (dim,) float32 each, unit length; numpy arrays, read-only, where numpy is installed, else
    `array("f")`. token_counts: tokens of each whole text, special tokens included. truncated: whether
    tokens were left out. model: vectors of different versions must not be compared.
    """

    vectors: "tuple[Vector, ...]"
    token_counts: tuple[int, ...]
    truncated: tuple[bool, ...]
    model: ModelVersion


@dataclass(frozen=True)
class Embedding:
    """The embedding of one text; see Embeddings."""

    vector: "Vector"
    token_count: int
    truncated: bool
    model: ModelVersion


def from_response(response: EmbedResponse) -> Embeddings:
    """Return what the wire carried."""
    return Embeddings(
        vectors=tuple(from_bytes(embedding.vector) for embedding in response.embeddings),
        token_counts=tuple(embedding.token_count for embedding in response.embeddings),
        truncated=tuple(embedding.truncated for embedding in response.embeddings),
        model=response.model,
    )


def each_of_stream(answer: EmbedStreamResponse) -> Iterator[Embedding]:
    """Yield what the wire carried, text by text; raises RecwireError where that is an error."""
    if answer.HasField("error"):
        raise errors.from_stream_error(answer.error)
    for embedding in answer.response.embeddings:
        yield Embedding(from_bytes(embedding.vector), embedding.token_count, embedding.truncated, answer.response.model)
