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
from recwire_server.encoder import Encoder, InvalidTextError, ModelVersion, Purpose, TokenizedText, Vector


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

    @property
    def batch_invariant(self) -> bool:
        """Whether a vector is free of what else is in the batch: it is."""
        return True

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        """Return the tokens of each text, in order; see Encoder. The purpose makes no difference."""
        return [self._tokenize_text(index, text) for index, text in enumerate(texts)]

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Return the vectors of the sequences, (len(sequences), dim); see Encoder."""
        return np.stack([self._sequence_vector(sequence) for sequence in sequences])

    def _tokenize_text(self, index: int, text: str) -> TokenizedText:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidTextError(index, error.start) from error
        words = [_word_id(word) for word in text.lower().split()]
        size = max(1, self._max_tokens - 2)
        chunks = [words[start : start + size] for start in range(0, len(words), size)] or [[]]
        sequences = [[START, *chunk, END] for chunk in chunks]
        return TokenizedText(sequences, head=sequences[0], token_count=len(words) + 2)

    def _sequence_vector(self, sequence: Sequence[int]) -> Vector:
        # The start's own vector keeps a text without words from having no direction.
        return _unit(np.sum([self._word_vector(word) for word in sequence[1:-1] or [START]], axis=0))

    def _word_vector(self, word_id: int) -> Vector:
        return _unit(np.random.default_rng(word_id).standard_normal(self._dim))


# The two special tokens around each chunk; word ids have 64 bits and do not meet them.
START, END = 0, 1


def _word_id(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def _unit(vector: NDArray[np.floating]) -> Vector:
    direction: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return direction


@contextmanager
def running_server(settings: Settings, encoder: Encoder) -> Iterator[str]:
    """Run a server on a thread of its own for the length of the block; yield its HOST:PORT.

    Raises what starting raises.
    """
    with running_app(settings, encoder) as app:
        yield app.address


@contextmanager
def running_app(settings: Settings, encoder: Encoder) -> Iterator[App]:
    """The same; yield the server itself, for where it is bound. The rest of it belongs to the thread."""
    started: Future[App] = Future()
    stop: Future[None] = Future()

    async def serve() -> None:
        async with App(settings, encoder) as app:
            started.set_result(app)
            await asyncio.wrap_future(stop)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    with ThreadPoolExecutor(1, thread_name_prefix="recwire-server") as thread:
        serving = thread.submit(run)
        try:
            yield started.result()
        finally:
            stop.set_result(None)
            serving.result()
