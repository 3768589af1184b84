"""The threads that an encoder runs on."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from recwire_server.encoder import LongText, Purpose, TextTooLongError, TokenizedText
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.workers import EncodingWorkers
from recwire_server.testing import HashEncoder


class GatedEncoder(HashEncoder):
    """A HashEncoder whose calls wait for `gate`; `seen` has the texts that reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.seen: list[str] = []

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        self.seen.extend(texts)
        self.entered.set()
        assert self.gate.wait(timeout=10)
        return super().tokenize(texts, purpose)


class MeetingEncoder(HashEncoder):
    """A HashEncoder whose calls return only once `party_count` of them run at the same time."""

    def __init__(self, party_count: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(party_count, timeout=10)

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        self.barrier.wait()
        return super().tokenize(texts, purpose)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 256])
async def test_embeddings_come_back_in_order(count):
    """A request of any size is answered as one call of the encoder would answer it."""
    encoder, texts = HashEncoder(), [f"text {number}" for number in range(count)]

    async with EncodingWorkers(encoder, worker_count=3) as workers:
        embeddings = await workers.encode(texts, Purpose.QUERY)

    expected = encode(encoder, texts, Purpose.QUERY)
    assert len(embeddings) == count
    for ours, theirs in zip(embeddings, expected, strict=True):
        np.testing.assert_array_equal(ours.vector, theirs.vector)


async def test_one_request_uses_all_threads():
    """A request of a few texts is spread over the threads, which run at the same time."""
    async with EncodingWorkers(MeetingEncoder(party_count=2), worker_count=2) as workers:
        assert len(await workers.encode(["a", "b", "c", "d"], Purpose.QUERY)) == 4


async def test_cancelled_request_never_reaches_the_model():
    """What waits for a thread when its caller is cancelled is dropped."""
    encoder = GatedEncoder()
    async with EncodingWorkers(encoder, worker_count=1) as workers:
        running = asyncio.create_task(workers.encode(["running"], Purpose.QUERY))
        await asyncio.to_thread(encoder.entered.wait, 10)
        waiting = asyncio.create_task(workers.encode(["cancelled"] * 100, Purpose.QUERY))
        await asyncio.wait([waiting], timeout=0)

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        encoder.gate.set()

        await running
        await workers.encode(["after"], Purpose.QUERY)

    assert encoder.seen == ["running", "after"]


async def test_error_names_the_text_of_the_request():
    """A text that fails is named by its place in the request, the first of several, with its own numbers."""
    texts = ["short"] * 100
    texts[57] = texts[80] = "word " * 300

    async with EncodingWorkers(HashEncoder(max_tokens=256), worker_count=2) as workers:
        with pytest.raises(TextTooLongError, match="text 57 has 302 tokens; the limit is 256") as caught:
            await workers.encode(texts, Purpose.QUERY, LongText.REJECT)

    assert caught.value.text_index == 57


async def test_threads_end_with_the_block():
    """Nothing outlives the block, and the encoder cannot be used after it."""
    async with EncodingWorkers(HashEncoder(), worker_count=2) as workers:
        await workers.encode(["a", "b"], Purpose.QUERY)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]
    with pytest.raises(AssertionError):
        await workers.encode(["a"], Purpose.QUERY)
