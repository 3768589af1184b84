"""A call that has ended is let go at once, not when the garbage collector comes by: until then it would take memory,
and count among its connection's streams."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc
import pytest
from conftest import StartServer

from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire.v1.user_service_pb2 import GetUserRequest
from recwire.v1.user_service_pb2_grpc import UserServiceStub

CALLS = 20
PATIENCE_S = 20.0
LAST_HELD = 12  # objects of the last batch, which the encoder's thread looks at until the next one
TEXT = pb.EmbedRequest(texts=["a text"])


async def answered(channel: grpc.aio.Channel) -> None:
    await RecommenderServiceStub(channel).Embed(TEXT)


async def refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await UserServiceStub(channel).GetUser(GetUserRequest(user_id="nobody"))


async def cancelled(channel: grpc.aio.Channel) -> None:
    call = RecommenderServiceStub(channel).Recommend(pb.RecommendRequest(user_id="ada", min_revision=10**9), timeout=9)
    await asyncio.sleep(0.01)
    call.cancel()


async def streamed(channel: grpc.aio.Channel) -> None:
    async for _ in RecommenderServiceStub(channel).EmbedStream(requests(3)):
        pass


async def stream_cancelled(channel: grpc.aio.Channel) -> None:
    call = RecommenderServiceStub(channel).EmbedStream(requests(9))
    await call.read()
    call.cancel()


async def requests(count: int) -> AsyncIterator[pb.EmbedStreamRequest]:
    for _ in range(count):
        yield pb.EmbedStreamRequest(request=TEXT)


def held_calls() -> int:
    """Return how many calls the server, in this process, holds."""
    return sum(type(held).__name__ == "_ServicerContext" for held in gc.get_objects())


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "call", [answered, refused, cancelled, streamed, stream_cancelled], ids=lambda one: one.__name__
)
async def test_a_call_that_has_ended_is_let_go(
    call: Callable[[grpc.aio.Channel], Awaitable[None]], start_server: StartServer, no_collector: None
):
    """However it ended."""
    async with grpc.aio.insecure_channel(start_server().address) as channel:
        await answered(channel)
        before = held_calls()
        for _ in range(CALLS):
            await call(channel)
        deadline_s = time.monotonic() + PATIENCE_S
        while (after := held_calls()) > before + 2 and time.monotonic() < deadline_s:
            await answered(channel)
    assert after <= before + 2


@pytest.mark.parametrize("call", [answered, streamed, stream_cancelled], ids=lambda one: one.__name__)
async def test_a_text_that_was_embedded_leaves_nothing_to_collect(
    call: Callable[[grpc.aio.Channel], Awaitable[None]], start_server: StartServer, no_collector: None
):
    """Nor does one that nobody waits for any more."""
    async with grpc.aio.insecure_channel(start_server(embedding_cache_bytes=0).address) as channel:
        await call(channel)
        gc.collect()
        for _ in range(CALLS):
            await call(channel)
        names = ("Job", "QueuedSequence", "_InFlight", "Requests")
        deadline_s = time.monotonic() + PATIENCE_S
        while len(held := held_objects(names)) > LAST_HELD and time.monotonic() < deadline_s:
            await answered(channel)
        assert len(held) <= LAST_HELD


def held_objects(names: tuple[str, ...]) -> list[str]:
    """Return the classes of the server's objects that are held, of these."""
    return [name for held in gc.get_objects() if (name := type(held).__name__) in names]
