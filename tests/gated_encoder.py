"""An encoder whose batches wait until a test lets them through, and an embedder around it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from recwire_server.encoder import Encoder, Vector
from recwire_server.encoder.batcher import Batcher
from recwire_server.encoder.cache import EmbeddingCache
from recwire_server.encoder.embedder import Embedder
from recwire_server.queue_limit import QueueLimit
from recwire_server.testing import HashEncoder

MAX_WORKERS = 16  # whose batches may be at the gate when it opens
PATIENCE_S = 20.0  # for what takes milliseconds on an idle machine


class GatedEncoder(HashEncoder):
    """A HashEncoder whose batches wait to be let through; `batches` has them as they reached the model."""

    def __init__(self, max_tokens: int = 256, *, batch_invariant: bool = True) -> None:
        super().__init__(max_tokens=max_tokens)
        self.batches: list[list[Sequence[int]]] = []
        self._batch_invariant = batch_invariant
        self._gate = threading.Semaphore(0)
        self._is_open = False
        self._reached = threading.Condition()

    @property
    def batch_invariant(self) -> bool:
        """As the test wants it."""
        return self._batch_invariant

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Wait at the gate."""
        with self._reached:
            self.batches.append(list(sequences))
            self._reached.notify_all()
        assert self._is_open or self._gate.acquire(timeout=PATIENCE_S)
        return super().run(sequences)

    async def reached(self, batch_count: int) -> None:
        """Wait until so many batches have reached the model."""

        def wait() -> bool:
            with self._reached:
                return self._reached.wait_for(lambda: len(self.batches) >= batch_count, PATIENCE_S)

        assert await asyncio.to_thread(wait), f"{len(self.batches)} batches reached the model"

    def let_through(self, batch_count: int) -> None:
        """Let so many batches through, waiting ones or coming ones."""
        self._gate.release(batch_count)

    def open(self) -> None:
        """Let all through from now on."""
        self._is_open = True
        self._gate.release(MAX_WORKERS)

    def texts(self, *texts: str) -> list[Sequence[int]]:
        """Return what the model sees of short texts."""
        return [self._tokenize_text(0, text).sequences[0] for text in texts]


@asynccontextmanager
async def running_embedder(
    encoder: Encoder,
    *,
    worker_count: int = 1,
    max_batch_size: int = 8,
    max_batch_tokens: int = 256,
    max_batch_wait_s: float = 0.0,
    max_queue_size: int = 1_024,
    wait_limit: QueueLimit | None = None,
    embedding_cache_bytes: int = 0,
) -> AsyncIterator[Embedder]:
    """Run an embedder on threads of its own for the length of the block, at whose end nothing waits any more."""
    batcher = Batcher(
        encoder,
        worker_count=worker_count,
        max_batch_size=max_batch_size,
        max_batch_tokens=max_batch_tokens,
        max_batch_wait_s=max_batch_wait_s,
        max_queue_size=max_queue_size,
        wait_limit=wait_limit or QueueLimit(),
    )
    async with batcher:
        yield Embedder(encoder, batcher, EmbeddingCache(embedding_cache_bytes))
    assert batcher.queue_size == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode-")]


async def begun(*tasks: asyncio.Task[object]) -> None:
    """Let tasks run until they wait."""
    await asyncio.wait(tasks, timeout=0)
