"""The messages of streams, of sources that asyncio reads: `recwire.request`, with `await`."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TypeVar

from recwire import request
from recwire.update import UserUpdate
from recwire.v1.catalog_service_pb2 import ImportItemsRequest
from recwire.v1.item_pb2 import Item
from recwire.v1.recommender_service_pb2 import (
    EmbedPurpose,
    EmbedStreamRequest,
    LongText,
    UpdateUserStreamRequest,
)

T = TypeVar("T")


async def embed_stream(
    texts: Iterable[str] | AsyncIterable[str], purpose: EmbedPurpose, long_text: LongText
) -> AsyncIterator[EmbedStreamRequest]:
    """Yield the messages of the texts, in order; see `request.embed_stream`."""
    if isinstance(texts, AsyncIterable):
        batch: list[str] = []
        async for text in texts:
            batch.append(text)
            if len(batch) == request.MAX_STREAM_TEXTS:
                yield request.embed_stream_message(batch, purpose, long_text)
                batch = []
        if batch:
            yield request.embed_stream_message(batch, purpose, long_text)
    else:
        for message in request.embed_stream(texts, purpose, long_text):
            yield message


async def update_user_stream(
    updates: Iterable[UserUpdate] | AsyncIterable[UserUpdate],
) -> AsyncIterator[UpdateUserStreamRequest]:
    """Yield the message of each update."""
    async for one in _each(updates):
        yield request.update_user_stream(one)


async def import_items(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[ImportItemsRequest]:
    """Yield the messages of the items; see `request.import_items`."""
    batch = request.ImportBatch()
    async for item in _each(items):
        for message in batch.add(item):
            yield message
    for message in batch.rest():
        yield message


async def _each(source: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(source, AsyncIterable):
        async for one in source:
            yield one
    else:
        for one in source:
            yield one
