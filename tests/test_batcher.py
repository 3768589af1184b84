"""Texts become embeddings off the event loop, in batches that many requests share."""

import asyncio
import threading
import time
from collections.abc import Sequence
from math import inf

import numpy as np
import pytest
from gated_encoder import GatedEncoder, begun, running_embedder
from hypothesis import given, settings
from hypothesis import strategies as st

from recwire_server.encoder import (
    DeadlineError,
    InvalidTextError,
    LongText,
    Priority,
    Purpose,
    StoppedError,
    TextTooLongError,
    TokenizedText,
    Vector,
)
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK
QUERY = Purpose.QUERY
LARGE = "word " * 10_000  # more than an interactive request may be, and than is tokenized on the event loop


class MeetingEncoder(HashEncoder):
    """A HashEncoder whose batches return only once `party_count` of them run at the same time."""

    def __init__(self, party_count: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(party_count, timeout=10)

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        self.barrier.wait()
        return super().run(sequences)


class FaultyEncoder(HashEncoder):
    """A HashEncoder that fails for a batch with the word "fault"."""

    def __init__(self) -> None:
        super().__init__()
        ((_, self._fault, _),) = self._tokenize_text(0, "fault").sequences

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        if any(self._fault in sequence for sequence in sequences):
            raise ZeroDivisionError("fault")
        return super().run(sequences)


class LoopWatchingEncoder(HashEncoder):
    """A HashEncoder that knows on which threads it tokenized and ran."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizing: set[threading.Thread] = set()
        self.running: set[threading.Thread] = set()

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        self.tokenizing.add(threading.current_thread())
        return super().tokenize(texts, purpose)

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        self.running.add(threading.current_thread())
        return super().run(sequences)


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 256])
async def test_embeddings_come_back_in_order(count, priority):
    """A request of any size is answered as one call of the encoder would answer it, repeated texts too."""
    encoder, texts = HashEncoder(), [f"text {number % 200}" for number in range(count)]

    async with running_embedder(encoder, worker_count=3) as embedder:
        embeddings = await embedder.embed(texts, QUERY, priority=priority)

    expected = encode(encoder, texts, QUERY)
    assert len(embeddings) == count
    for ours, theirs in zip(embeddings, expected, strict=True):
        np.testing.assert_array_equal(ours.vector, theirs.vector)


async def test_one_request_uses_all_threads():
    """A request of a few texts is spread over the threads, which run at the same time."""
    async with running_embedder(MeetingEncoder(party_count=2), worker_count=2) as embedder:
        assert len(await embedder.embed(["a", "b", "c", "d"], QUERY)) == 4


async def test_a_lone_text_starts_at_once():
    """Nothing is waited for while a thread is idle."""
    encoder = GatedEncoder()
    async with running_embedder(encoder, worker_count=2) as embedder:
        first = asyncio.create_task(embedder.embed(["first"], QUERY))
        await encoder.reached(1)
        second = asyncio.create_task(embedder.embed(["second"], QUERY))
        await encoder.reached(2)
        encoder.open()
        await asyncio.gather(first, second)
    assert encoder.batches == [encoder.texts("first"), encoder.texts("second")]


async def test_what_waits_becomes_one_batch():
    """Texts of several requests that came while the threads were busy run together."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        tasks = [asyncio.create_task(embedder.embed(["first"], QUERY))]
        await encoder.reached(1)
        tasks += [asyncio.create_task(embedder.embed([text], QUERY)) for text in ("a", "b", "c")]
        await begun(*tasks)
        encoder.open()
        await asyncio.gather(*tasks)
    assert encoder.batches == [encoder.texts("first"), encoder.texts("a", "b", "c")]


async def test_with_a_wait_a_batch_fills():
    """Where a batch may wait for its texts, those that come shortly after one another run together."""
    encoder = GatedEncoder()
    encoder.open()
    async with running_embedder(encoder, max_batch_size=3, max_batch_wait_s=1_000) as embedder:
        await asyncio.gather(*(embedder.embed([text], QUERY) for text in ("a", "b", "c")))
    assert encoder.batches == [encoder.texts("a", "b", "c")]


async def test_a_batch_that_does_not_fill_runs_after_its_wait():
    """With what has come until then, and the next one likewise."""
    encoder = GatedEncoder()
    encoder.open()
    async with running_embedder(encoder, worker_count=2, max_batch_wait_s=0.001) as embedder:
        for text in ("a", "b", "c"):
            assert len(await embedder.embed([text], QUERY)) == 1
    assert encoder.batches == [encoder.texts("a"), encoder.texts("b"), encoder.texts("c")]


async def test_the_end_does_not_wait_for_a_batch_to_fill():
    """What waits for its batch to fill fails at once."""
    async with running_embedder(GatedEncoder(), worker_count=2, max_batch_wait_s=1_000) as embedder:
        waiting = asyncio.create_task(embedder.embed(["a"], QUERY))
        await begun(waiting)
    with pytest.raises(StoppedError):
        await waiting


async def test_every_sequence_runs_alone_where_the_batch_matters():
    """An encoder whose vectors depend on the batch never gets two sequences at once."""
    encoder = GatedEncoder(batch_invariant=False)
    encoder.open()
    async with running_embedder(encoder, worker_count=2) as embedder:
        await embedder.embed([f"text {number}" for number in range(20)], QUERY)
    assert {len(batch) for batch in encoder.batches} == {1}


async def test_a_text_beyond_the_token_budget_runs_alone():
    """It is encoded, in a batch of its own."""
    encoder = GatedEncoder()
    encoder.open()
    long = "word " * 200
    async with running_embedder(encoder, max_batch_tokens=50) as embedder:
        await embedder.embed(["a", long, "b"], QUERY)
    assert encoder.texts(long) in encoder.batches


async def test_interactive_work_overtakes_bulk_work():
    """A text that somebody waits for runs next, after the batch in hand, however much bulk work came before."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        bulk = asyncio.create_task(embedder.embed([f"bulk {n}" for n in range(100)], QUERY, priority=BULK))
        await encoder.reached(1)
        one = asyncio.create_task(embedder.embed(["interactive"], QUERY))
        await begun(one)
        encoder.let_through(2)
        await one
        encoder.open()
        await bulk
    assert encoder.batches[1] == encoder.texts("interactive")


async def test_a_large_request_runs_as_bulk_work():
    """A request of much text does not delay the small ones that come after it."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        large = asyncio.create_task(embedder.embed([LARGE], QUERY))
        await encoder.reached(1)
        small = asyncio.create_task(embedder.embed(["small"], QUERY))
        await begun(small)
        encoder.let_through(2)
        await small
        encoder.open()
        (embedding,) = await large
    np.testing.assert_array_equal(embedding.vector, encode(HashEncoder(), [LARGE], QUERY)[0].vector)


async def test_bulk_requests_take_turns():
    """A small import does not wait for the end of a large one."""
    encoder = GatedEncoder()
    encoder.open()
    async with running_embedder(encoder) as embedder:
        large = asyncio.create_task(embedder.embed([f"large {n}" for n in range(5_000)], QUERY, priority=BULK))
        await encoder.reached(1)
        await embedder.embed([f"small {n}" for n in range(20)], QUERY, priority=BULK)
        assert not large.done()
        await large


async def test_cancelled_request_never_reaches_the_model():
    """What waits for a thread when its caller is cancelled is dropped."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        running = asyncio.create_task(embedder.embed(["running"], QUERY))
        await encoder.reached(1)
        waiting = [
            asyncio.create_task(embedder.embed([f"{priority} {n}" for n in range(100)], QUERY, priority=priority))
            for priority in Priority
        ]
        await begun(*waiting)

        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        encoder.open()

        await running
        await embedder.embed(["after"], QUERY)

    assert all(task.cancelled() for task in waiting)
    assert encoder.batches == [encoder.texts("running"), encoder.texts("after")]


async def test_work_past_its_deadline_never_reaches_the_model():
    """What still waits at its deadline is dropped, and its caller told so."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        running = asyncio.create_task(embedder.embed(["running"], QUERY))
        await encoder.reached(1)
        late = asyncio.create_task(embedder.embed(["late"], QUERY, deadline_s=time.monotonic()))
        await begun(late)
        encoder.open()
        with pytest.raises(DeadlineError):
            await late
        await running
    assert encoder.batches == [encoder.texts("running")]


async def test_an_error_reaches_the_requests_of_its_batch_only():
    """They all fail with it; the thread goes on, and the next requests are served."""
    async with running_embedder(FaultyEncoder(), worker_count=1, max_batch_size=2) as embedder:
        before = embedder.embed(["a", "b"], QUERY)
        faulty = embedder.embed(["fault", "c"], QUERY)
        after = embedder.embed(["d"], QUERY)
        outcomes = await asyncio.gather(before, faulty, after, return_exceptions=True)
        assert len(await embedder.embed(["e"], QUERY)) == 1
    assert [type(outcome) for outcome in outcomes] == [list, ZeroDivisionError, list]


async def test_a_fault_drops_the_rest_of_its_request():
    """What waits of a request that has failed already does not reach the model."""
    encoder = FaultyEncoder()
    async with running_embedder(encoder, max_batch_size=1) as embedder:
        with pytest.raises(ZeroDivisionError):
            await embedder.embed([f"fault {'word ' * 250 * 3}"], QUERY)
        assert embedder.queue_size == 0


@pytest.mark.parametrize("priority", Priority)
async def test_error_names_the_text_of_the_request(priority):
    """A text that fails is named by its place in the request, the first of several, with its own numbers."""
    texts = [f"short {number}" for number in range(100)]
    texts[57] = texts[80] = "word " * 300

    async with running_embedder(HashEncoder(max_tokens=256), worker_count=2) as embedder:
        with pytest.raises(TextTooLongError, match="text 57 has 302 tokens; the limit is 256") as caught:
            await embedder.embed(texts, QUERY, LongText.REJECT, priority=priority)
        with pytest.raises(InvalidTextError, match=r"text 2 .* character 1"):
            await embedder.embed(["a", "b", "c\ud800"], QUERY, priority=priority)

    assert caught.value.text_index == 57


async def test_the_event_loop_only_tokenizes_what_is_short():
    """The model, and tokenizing a long text, run on other threads."""
    encoder = LoopWatchingEncoder()
    async with running_embedder(encoder) as embedder:
        await embedder.embed(["short"], QUERY)
        assert encoder.tokenizing == {threading.current_thread()}
        encoder.tokenizing.clear()
        await embedder.embed(["word " * 1_000], QUERY)
        await embedder.embed([LARGE], QUERY)
        assert threading.current_thread() not in encoder.tokenizing | encoder.running


async def test_the_end_fails_what_waits():
    """At the end of the block the batch in hand is finished; what waits fails, as does what comes later."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        running = asyncio.create_task(embedder.embed(["running"], QUERY))
        await encoder.reached(1)
        waiting = asyncio.create_task(embedder.embed(["waiting"], QUERY))
        bulk = asyncio.create_task(embedder.embed([f"bulk {n}" for n in range(1_000)], QUERY, priority=BULK))
        await begun(waiting, bulk)
        encoder.open()
    outcomes = await asyncio.gather(running, waiting, bulk, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[1:]] == [StoppedError, StoppedError]
    assert len(outcomes[0]) == 1
    with pytest.raises(StoppedError):
        await embedder.embed(["later"], QUERY)


words = st.sampled_from(["a", "b", "c", "house", "river", "green"])
texts = st.lists(st.lists(words, max_size=12).map(" ".join), min_size=1, max_size=6)
embed_steps = st.tuples(st.just("embed"), texts, st.sampled_from(Priority), st.sampled_from([inf, 0.0]))
step_lists = st.lists(
    st.one_of(
        embed_steps,
        st.tuples(st.just("embed"), st.just(["word " * 60]), st.sampled_from(Priority), st.just(inf)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("let_through"), st.integers(1, 3)),
        st.tuples(st.just("turn")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(
    steps=step_lists,
    worker_count=st.integers(1, 3),
    max_batch_size=st.integers(1, 5),
    max_batch_tokens=st.integers(5, 60),
    embedding_cache_bytes=st.sampled_from([0, 3_000, 1_000_000]),
)
def test_every_text_is_answered_once_with_its_own_embedding(steps, worker_count, embedding_cache_bytes, **bounds):
    """Under random arrivals, cancellations, deadlines and classes: each request gets the plain encoder's embeddings,
    or it was cancelled, or late; no batch is larger than it may be, and nothing is left over."""
    encoder = GatedEncoder(max_tokens=40)
    requests: list[tuple[asyncio.Task[object], list[str], float]] = []

    async def scenario() -> None:
        async with running_embedder(
            encoder, worker_count=worker_count, embedding_cache_bytes=embedding_cache_bytes, **bounds
        ) as embedder:
            for step in steps:
                match step:
                    case ("embed", texts, priority, deadline_s):
                        call = embedder.embed(texts, QUERY, priority=priority, deadline_s=deadline_s)
                        requests.append((asyncio.create_task(call), texts, deadline_s))
                    case ("cancel", number) if requests:
                        requests[number % len(requests)][0].cancel()
                    case ("let_through", batch_count):
                        encoder.let_through(batch_count)
                    case ("turn",):
                        await asyncio.sleep(0)
            encoder.open()
            await asyncio.gather(*(task for task, _, _ in requests), return_exceptions=True)
            assert embedder.queue_size == 0
            assert embedder.in_flight_size == 0

    asyncio.run(scenario())

    plain = HashEncoder(max_tokens=40)
    for task, texts, deadline_s in requests:
        if task.cancelled():
            continue
        if isinstance(task.exception(), DeadlineError):
            assert deadline_s == 0
            continue
        for ours, theirs in zip(task.result(), encode(plain, texts, QUERY), strict=True):
            np.testing.assert_array_equal(ours.vector, theirs.vector)
            assert (ours.token_count, ours.truncated) == (theirs.token_count, theirs.truncated)
    for batch in encoder.batches:
        assert len(batch) <= bounds["max_batch_size"]
        assert len(batch) == 1 or max(map(len, batch)) * len(batch) <= bounds["max_batch_tokens"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode-")]
