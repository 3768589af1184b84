"""What the encoder's queue takes, and what it refuses at once."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from gated_encoder import GatedEncoder, begun, running_embedder

from recwire_server.encoder import OverloadedError, Priority, Purpose, Vector
from recwire_server.queue_limit import QueueLimit
from recwire_server.testing import HashEncoder

BULK = Priority.BULK
QUERY = Purpose.QUERY
TEXT_S = 0.01


class SlowEncoder(HashEncoder):
    """A HashEncoder that takes TEXT_S for a text."""

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        time.sleep(TEXT_S * len(sequences))
        return super().run(sequences)


async def test_large_requests_of_callers_who_wait_are_bounded_too():
    """They are refused when as many texts wait for room as may wait in the queue, where an import waits on."""
    encoder = GatedEncoder()
    async with running_embedder(encoder, max_queue_size=100) as embedder:
        texts = [f"{n} {'word ' * 200}" for n in range(100)]
        tasks = [asyncio.create_task(embedder.embed(texts, QUERY))]
        await encoder.reached(1)
        with pytest.raises(OverloadedError, match="texts wait for room in the queue and 100 more came"):
            await embedder.embed([f"more {text}" for text in texts], QUERY)
        tasks.append(asyncio.create_task(embedder.embed(["bulk", *texts], QUERY, priority=BULK)))
        await begun(*tasks)
        encoder.open()
        assert [len(embeddings) for embeddings in await asyncio.gather(*tasks)] == [100, 101]


async def test_bulk_work_waits_for_room():
    """Of a large import only a few batches are in the queue at a time."""
    encoder = GatedEncoder()
    async with running_embedder(encoder, max_queue_size=4) as embedder:
        bulk = asyncio.create_task(embedder.embed([f"bulk {n}" for n in range(5_000)], QUERY, priority=BULK))
        await encoder.reached(1)
        await begun(bulk)
        assert embedder.queue_size < 200
        encoder.open()
        assert len(await bulk) == 5_000


async def test_a_full_queue_refuses_at_once():
    """Interactive texts that find the queue full are refused without waiting, with a time to come back after."""
    encoder = GatedEncoder()
    async with running_embedder(encoder, max_queue_size=3) as embedder:
        tasks = [asyncio.create_task(embedder.embed(["first"], QUERY))]
        await encoder.reached(1)
        tasks += [asyncio.create_task(embedder.embed([text], QUERY)) for text in ("a", "b", "c")]
        await begun(*tasks)

        with pytest.raises(OverloadedError, match="3 texts wait for the encoder and 2 more came; the limit is 3") as e:
            await embedder.embed(["d", "e"], QUERY)

        encoder.open()
        await asyncio.gather(*tasks)
    assert e.value.retry_delay_s > 0


async def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits():
    """The bound is on what waits, not on the size of a request."""
    async with running_embedder(HashEncoder(), max_queue_size=3) as embedder:
        assert len(await embedder.embed([f"text {n}" for n in range(20)], QUERY)) == 20


async def test_a_deadline_that_cannot_be_met_is_refused_at_once():
    """Where what waits takes longer than the caller has, the call is refused without waiting."""
    encoder = GatedEncoder()
    async with running_embedder(encoder, max_batch_size=1) as embedder:
        timed = asyncio.create_task(embedder.embed(["timed"], QUERY))
        await encoder.reached(1)
        await asyncio.to_thread(time.sleep, 0.02)  # what a batch takes, as the queue's estimate will have it
        encoder.let_through(1)
        await timed
        tasks = [asyncio.create_task(embedder.embed([f"text {n}"], QUERY)) for n in range(1_000)]
        await begun(*tasks)

        with pytest.raises(OverloadedError, match="the deadline is in"):
            await embedder.embed(["late"], QUERY, deadline_s=time.monotonic() + 5)

        encoder.open()
        await asyncio.gather(*tasks)


async def test_a_burst_may_wait_where_a_standing_queue_is_short():
    """What comes at once after a pause is taken, though it waits; once more comes than can be done, the wait is
    bounded by the shorter limit, and the encoder stays busy."""
    async with running_embedder(SlowEncoder(), wait_limit=QueueLimit(5, 5 * TEXT_S)) as embedder:
        await embedder.embed(["timed"], QUERY)
        await asyncio.gather(*(embedder.embed([f"burst {n}"], QUERY) for n in range(20)))
        begin_s, tasks = time.monotonic(), list[asyncio.Task[object]]()
        while time.monotonic() < begin_s + 2.5:  # twice as many as can be done
            tasks.append(asyncio.create_task(embedder.embed([f"standing {len(tasks)}"], QUERY)))
            await asyncio.sleep(TEXT_S / 2)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, OverloadedError)]
    assert refused[0] > 0.2 * len(tasks), "a queue that has just come to be is no standing one"
    assert all(str(outcomes[number]).endswith("the limit is 0.05 s") for number in refused)
    assert len([1 for number in range(refused[0], len(tasks)) if number not in refused]) > 0.1 * len(refused)


async def test_a_text_that_takes_longer_than_its_caller_has_is_refused():
    """What it takes itself counts, and what is running; where nothing runs it is tried, so that an estimate which one
    slow batch has spoilt does not stay."""
    async with running_embedder(SlowEncoder()) as embedder:
        await embedder.embed(["a text of a few words"], QUERY)
        running = asyncio.create_task(embedder.embed(["word"], QUERY))
        await begun(running)
        with pytest.raises(OverloadedError, match="the deadline is in"):
            await embedder.embed(["word " * 200], QUERY, deadline_s=time.monotonic() + 2 * TEXT_S)
        await running
        assert len(await embedder.embed(["word " * 201], QUERY, deadline_s=time.monotonic() + 2 * TEXT_S)) == 1
