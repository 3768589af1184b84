"""A text that was embedded before, or is being embedded, does not reach the model again."""

import asyncio
import time
from math import inf

import numpy as np
import pytest
from gated_encoder import GatedEncoder, begun, running_embedder

from recwire import Event, EventType, Item
from recwire.v1.recommender_service_pb2 import EmbedPurpose
from recwire_server.encoder import Embedding, LongText, Priority, Purpose
from recwire_server.encoder.cache import ENTRY_BYTES, EmbeddingCache
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder

QUERY, DOCUMENT = Purpose.QUERY, Purpose.DOCUMENT
MIB = 1024 * 1024


def embedding(number: float = 1.0) -> Embedding:
    return Embedding(np.full(32, number, np.float32), 3, truncated=False)


ENTRY_SIZE = 32 * 4 + ENTRY_BYTES


async def test_the_second_time_is_answered_from_the_cache():
    """The same bytes come back, without the model; hits and misses are counted."""
    encoder = GatedEncoder()
    encoder.open()
    async with running_embedder(encoder, embedding_cache_bytes=MIB) as embedder:
        first = await embedder.embed(["a", "b", "a"], QUERY)
        second = await embedder.embed(["b", "a"], QUERY)
    assert encoder.batches == [encoder.texts("a", "b")]
    assert second == [first[1], first[0]]
    assert (embedder.cache_stats.hit_count, embedder.cache_stats.miss_count) == (2, 3)
    np.testing.assert_array_equal(second[0].vector, encode(HashEncoder(), ["b"], QUERY)[0].vector)


async def test_a_hit_never_leaves_the_event_loop():
    """It is answered before the task would wait for anything."""
    async with running_embedder(HashEncoder(), embedding_cache_bytes=MIB) as embedder:
        await embedder.embed(["a"], QUERY)
        call = embedder.embed(["a"], QUERY)
        with pytest.raises(StopIteration):
            call.send(None)


@pytest.mark.parametrize(
    ("purpose", "long_text"),
    [(DOCUMENT, LongText.MEAN_OF_CHUNKS), (QUERY, LongText.TRUNCATE)],
    ids=["purpose", "long_text"],
)
async def test_what_an_embedding_depends_on_is_told_apart(purpose, long_text):
    """The same text for another purpose, or cut in another way, is another entry."""
    text = "word " * 300
    async with running_embedder(HashEncoder(), embedding_cache_bytes=MIB) as embedder:
        await embedder.embed([text], QUERY, LongText.MEAN_OF_CHUNKS)
        (other,) = await embedder.embed([text], purpose, long_text)
        assert embedder.cache_stats.hit_count == 0
    (expected,) = encode(HashEncoder(), [text], purpose, long_text)
    np.testing.assert_array_equal(other.vector, expected.vector)
    assert other.truncated == expected.truncated


async def test_a_text_in_flight_is_encoded_once():
    """Requests that ask for the same text at the same time share its way through the model, even without a cache."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        tasks = [asyncio.create_task(embedder.embed(["a"], QUERY)) for _ in range(3)]
        await encoder.reached(1)
        encoder.open()
        embeddings = await asyncio.gather(*tasks)
    assert encoder.batches == [encoder.texts("a")]
    assert embeddings[0] == embeddings[1] == embeddings[2]


async def test_those_who_share_a_text_outlive_one_another():
    """When one of them goes away, or its deadline passes, the others still get theirs; when all do, it is dropped."""
    encoder = GatedEncoder()
    async with running_embedder(encoder) as embedder:
        running = asyncio.create_task(embedder.embed(["running"], QUERY))
        await encoder.reached(1)
        gone, late, stays = (
            asyncio.create_task(embedder.embed(["shared"], QUERY, deadline_s=deadline_s))
            for deadline_s in (inf, time.monotonic(), inf)
        )
        dropped = [asyncio.create_task(embedder.embed(["dropped"], QUERY)) for _ in range(2)]
        await begun(gone, late, stays, *dropped)
        for task in (gone, *dropped):
            task.cancel()
        await asyncio.wait([gone, *dropped])
        encoder.open()
        assert len(await stays) == 1
        await asyncio.gather(running, late)
    assert encoder.batches == [encoder.texts("running"), encoder.texts("shared")]


async def test_interactive_work_takes_a_shared_text_along():
    """A text that bulk work waits for goes first once somebody else waits for it."""
    encoder = GatedEncoder()
    async with running_embedder(encoder, max_batch_size=1) as embedder:
        bulk = asyncio.create_task(embedder.embed([f"text {n}" for n in range(10)], QUERY, priority=Priority.BULK))
        await encoder.reached(1)
        one = asyncio.create_task(embedder.embed(["text 7"], QUERY))
        await begun(one)
        encoder.let_through(2)
        await one
        encoder.open()
        await bulk
    assert encoder.batches[1] == encoder.texts("text 7")
    assert len(encoder.batches) == 10


def test_the_cache_keeps_to_its_bytes():
    """What was not asked for the longest goes first, and is counted."""
    cache = EmbeddingCache(3 * ENTRY_SIZE)
    for key in (b"a", b"b", b"c"):
        cache.put(key, embedding())
    cache.get(b"a")
    cache.put(b"d", embedding())
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.peek(key)] == [b"a", b"c", b"d"]
    assert (cache.stats.eviction_count, cache.stats.entry_count) == (1, 3)
    assert cache.stats.size_bytes == 3 * ENTRY_SIZE


def test_a_cache_of_no_bytes_holds_nothing():
    """0 switches it off."""
    cache = EmbeddingCache(0)
    cache.put(b"a", embedding())
    assert cache.get(b"a") is None
    assert (cache.stats.entry_count, cache.stats.eviction_count) == (0, 0)


async def test_an_embedding_from_the_cache_cannot_be_changed():
    """All who ask get the same vector, so it is read-only."""
    async with running_embedder(HashEncoder(), embedding_cache_bytes=MIB) as embedder:
        (one,) = await embedder.embed(["a"], QUERY)
    with pytest.raises(ValueError, match="read-only"):
        one.vector[0] = 1


def test_server_info_tells_what_the_cache_does(start_server):
    """Hits and misses count texts, whichever call they came with; the purpose tells entries apart."""
    client = start_server(embedding_cache_bytes=MIB).client
    client.embed(["a lamp", "a kettle"])
    client.embed(["a lamp", "a lamp"])
    client.update_user("ada", [Event(text="a kettle", type=EventType.EVENT_TYPE_SEARCH)])
    client.embed(["a lamp"], purpose=EmbedPurpose.EMBED_PURPOSE_DOCUMENT)
    cache = client.get_server_info().embedding_cache
    assert (cache.hit_count, cache.miss_count, cache.entry_count) == (3, 3, 3)
    assert cache.size_bytes == 3 * ENTRY_SIZE
    assert cache.eviction_count == 0


def test_importing_unchanged_items_again_encodes_nothing(start_server):
    """Neither with a cache, nor without one, where the vectors of the store serve."""
    encoder = GatedEncoder()
    encoder.open()
    client = start_server(encoder, embedding_cache_bytes=0).client
    items = [Item(item_id=str(n), title=f"item {n}", texts=[f"about {n}"]) for n in range(50)]
    list(client.import_items(items))
    batch_count = len(encoder.batches)
    list(client.import_items(items))
    assert len(encoder.batches) == batch_count > 0
