"""How much is taken at a time: calls and streams are bounded, and a call without a deadline gets one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc
import pytest
from conftest import StartServer
from error_details import ErrorDetails, error_of
from gated_encoder import PATIENCE_S, GatedEncoder
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire.v1.user_service_pb2 import GetUserRequest
from recwire.v1.user_service_pb2_grpc import UserServiceStub

LIMIT = 3


@dataclass(frozen=True)
class FullServer:
    """A server with as many calls in work as it takes, none of which ends before the encoder opens."""

    encoder: GatedEncoder
    address: str
    channel: grpc.Channel
    in_work: list[grpc.Future]


@pytest.fixture
def full(start_server: StartServer) -> Iterator[FullServer]:
    encoder = GatedEncoder()
    server = start_server(encoder, max_calls=LIMIT, max_streams=LIMIT)
    with grpc.insecure_channel(server.address) as channel:
        embed = RecommenderServiceStub(channel).Embed
        texts = [f"text {number}" for number in range(LIMIT)]
        in_work = [embed.future(pb.EmbedRequest(texts=[text]), timeout=PATIENCE_S) for text in texts]
        AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest())  # which came after them
        yield FullServer(encoder, server.address, channel, in_work)
        encoder.open()


def refused(channel: grpc.Channel) -> ErrorDetails:
    """Return why one call more is not taken."""
    with pytest.raises(grpc.RpcError) as raised:
        UserServiceStub(channel).GetUser(GetUserRequest(user_id="ada"))
    return error_of(raised.value)


def test_more_calls_than_may_be_in_work_are_refused(full: FullServer):
    """RESOURCE_EXHAUSTED, with the limit and a time to come back; those in work are answered, then there is room."""
    error = refused(full.channel)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details["ErrorInfo"].reason == "TOO_MANY_CALLS"
    assert "the limit is 3 (max_calls)" in error.message
    assert error.details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
    full.encoder.open()
    assert all(len(call.result().embeddings) == 1 for call in full.in_work)
    assert refused(full.channel).code is grpc.StatusCode.NOT_FOUND


def test_health_and_admin_answer_however_much_is_in_work(full: FullServer):
    """Who asks how the server is does not take part in the queue."""
    status = HealthStub(full.channel).Check(HealthCheckRequest()).status
    assert status == HealthCheckResponse.SERVING
    assert AdminServiceStub(full.channel).GetServerInfo(GetServerInfoRequest()).dimension


def test_a_call_that_leaves_makes_room(full: FullServer):
    """One that is cancelled is not in work any more."""
    full.in_work[0].cancel()
    AdminServiceStub(full.channel).GetServerInfo(GetServerInfoRequest())
    assert refused(full.channel).code is grpc.StatusCode.NOT_FOUND


async def test_more_streams_than_may_be_open_are_refused(full: FullServer):
    """Streams have a limit of their own, which calls do not take from; one that ends makes room."""
    ended = asyncio.Event()

    async def requests() -> AsyncIterator[pb.UpdateUserStreamRequest]:
        yield pb.UpdateUserStreamRequest()
        await ended.wait()

    async with grpc.aio.insecure_channel(full.address) as channel:
        open_streams = [RecommenderServiceStub(channel).UpdateUserStream(requests()) for _ in range(LIMIT)]
        for stream in open_streams:
            assert (await stream.read()).error.reason == "INVALID_FIELD"
        # By the other client: asyncio's may lose the status of a stream that it is still sending on.
        update_user_stream = RecommenderServiceStub(full.channel).UpdateUserStream
        with pytest.raises(grpc.RpcError) as raised:
            next(update_user_stream(iter([pb.UpdateUserStreamRequest()])))
        assert "the limit is 3 (max_streams)" in error_of(raised.value).message
        ended.set()
        for stream in open_streams:
            assert await stream.read() is grpc.aio.EOF
        assert next(update_user_stream(iter([pb.UpdateUserStreamRequest()]))).error.reason == "INVALID_FIELD"


def test_a_call_without_a_deadline_gets_one(start_server: StartServer):
    """It is given up after default_timeout_s, and what it wanted never reaches the model."""
    encoder = GatedEncoder()
    server = start_server(encoder, encoder_thread_count=1, default_timeout_s=0.3)
    with grpc.insecure_channel(server.address) as channel:
        embed = RecommenderServiceStub(channel).Embed
        running = embed.future(pb.EmbedRequest(texts=["running"]), timeout=PATIENCE_S)
        asyncio.run(encoder.reached(1))
        with pytest.raises(grpc.RpcError) as raised:
            embed(pb.EmbedRequest(texts=["waiting"]))
        encoder.open()
        assert len(running.result().embeddings) == 1
        embed(pb.EmbedRequest(texts=["after"]))
    error = error_of(raised.value)
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "default_timeout_s" in error.message
    assert encoder.batches == [encoder.texts("running"), encoder.texts("after")]
