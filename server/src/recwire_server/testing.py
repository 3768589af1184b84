"""What tests need of recwire: an encoder that is quick, deterministic and needs no model, and a server on a thread."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from recwire_server.app import App
from recwire_server.config import Settings
from recwire_server.encoder import (
    Embedding,
    Encoder,
    InvalidTextError,
    LongText,
    ModelVersion,
    Purpose,
    TextTooLongError,
    Vector,
)


class HashEncoder:
    """Makes embeddings of which words a text has, so that texts that share words are near each other.

    A text's vector is the sum of its lower-case words' vectors, scaled to unit length; a word's vector is
    random, seeded by the word, the same in every process. A word is one token, and a text has two special
    tokens beside.
    """

    def __init__(self, dim: int = 32, max_tokens: int = 256) -> None:
        self._dim = dim
        self._max_tokens = max_tokens

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def model(self) -> ModelVersion:
        """The model that makes the embeddings."""
        return ModelVersion("hash-encoder", f"{self._dim}-{self._max_tokens}")

    @property
    def max_tokens(self) -> int:
        """Tokens that one sequence may have, special tokens included."""
        return self._max_tokens

    def encode(
        self, texts: Sequence[str], purpose: Purpose, long_text: LongText = LongText.MEAN_OF_CHUNKS
    ) -> list[Embedding]:
        """Return one embedding a text, in order; see Encoder. The purpose makes no difference."""
        return [self._encode_text(index, text, long_text) for index, text in enumerate(texts)]

    def _encode_text(self, index: int, text: str, long_text: LongText) -> Embedding:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidTextError(index, error.start) from error
        words = text.lower().split()
        token_count = len(words) + 2
        if token_count > self._max_tokens and long_text is LongText.REJECT:
            raise TextTooLongError(index, token_count, self._max_tokens)
        size = max(1, self._max_tokens - 2)
        chunks = [words[start : start + size] for start in range(0, len(words), size)] or [[]]
        kept = chunks[:1] if long_text is LongText.TRUNCATE else chunks
        vector = _unit(np.sum([self._chunk_vector(chunk) for chunk in kept], axis=0))
        return Embedding(vector, token_count, truncated=len(kept) < len(chunks))

    def _chunk_vector(self, words: Sequence[str]) -> Vector:
        # The special tokens' own word keeps a text without words from having no direction.
        return _unit(np.sum([self._word_vector(word) for word in words or [""]], axis=0))

    def _word_vector(self, word: str) -> Vector:
        seed = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return _unit(np.random.default_rng(seed).standard_normal(self._dim))


def _unit(vector: NDArray[np.floating]) -> Vector:
    direction: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return direction


@contextmanager
def running_server(settings: Settings, encoder: Encoder) -> Iterator[str]:
    """Run a server on a thread of its own for the length of the block; yield its HOST:PORT.

    Raises what starting raises.
    """
    address: Future[str] = Future()
    stop: Future[None] = Future()

    async def serve() -> None:
        async with App(settings, encoder) as app:
            address.set_result(app.address)
            await asyncio.wrap_future(stop)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if address.done():
                raise
            address.set_exception(error)

    with ThreadPoolExecutor(1, thread_name_prefix="recwire-server") as thread:
        serving = thread.submit(run)
        try:
            yield address.result()
        finally:
            stop.set_result(None)
            serving.result()
