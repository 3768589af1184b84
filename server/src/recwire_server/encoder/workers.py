"""The threads that an encoder runs on, in front of which callers await."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from types import TracebackType
from typing import Self

from recwire_server.encoder import Embedding, Encoder, LongText, Purpose, TextError
from recwire_server.encoder.embedding import encode

# Four of the encoder's batches: enough for sorting by length to pay, and a cancelled request of titles gives
# its thread back within 0.1 s.
MAX_GROUP_SIZE = 32


class EncodingWorkers:
    """Makes embeddings off the event loop, on `worker_count` threads that share one encoder.

    Use it as `async with`; the threads live as long as the block. Groups wait in the order in which they
    came; how many may wait is the caller's to bound.
    """

    def __init__(self, encoder: Encoder, worker_count: int) -> None:
        self._encoder = encoder
        self._worker_count = worker_count
        self._threads: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(self._worker_count, thread_name_prefix="encode")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._threads is not None, "left without having been entered"
        threads, self._threads = self._threads, None
        # Waiting for the group in hand takes a moment, which the event loop must not stand still for.
        await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    @property
    def encoder(self) -> Encoder:
        """The encoder that the threads share."""
        return self._encoder

    async def encode(
        self, texts: Sequence[str], purpose: Purpose, long_text: LongText = LongText.MEAN_OF_CHUNKS
    ) -> list[Embedding]:
        """Return one embedding a text, in order.

        When the calling task is cancelled or a text fails, the request's waiting groups never reach the
        model. Raises as encoder.embedding.encode does, for the first text that fails.
        """
        assert self._threads is not None, "used outside of its `async with` block"
        loop = asyncio.get_running_loop()
        # Every thread gets a share, so that one request alone still uses all cores.
        size = min(MAX_GROUP_SIZE, max(1, ceil(len(texts) / self._worker_count)))
        groups = [
            loop.run_in_executor(
                self._threads, self._encode_group, texts[start : start + size], start, purpose, long_text
            )
            for start in range(0, len(texts), size)
        ]
        try:
            # In order rather than as they finish: the first group that fails has the first text that fails.
            return [embedding for group in groups for embedding in await group]
        finally:
            for group in groups:
                if group.done() and not group.cancelled():
                    group.exception()  # seen, or asyncio would log a second failing group as forgotten
                else:
                    group.cancel()

    def _encode_group(self, texts: Sequence[str], start: int, purpose: Purpose, long_text: LongText) -> list[Embedding]:
        try:
            return encode(self._encoder, texts, purpose, long_text)
        except TextError as error:
            error.text_index += start
            raise
