"""A stop: no admitted call is lost, streams end where they are, and it takes no longer than it may."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from server_process import PATIENCE_S, ServerProcess, hash_serving

from recwire import Event
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

LATER = 10**9  # a revision that does not come


def update(number: int) -> pb.UpdateUserRequest:
    return pb.UpdateUserRequest(user_id=f"u{number % 7}", events=[Event(event_id=str(number), text=f"text {number}")])


async def acknowledged_while_stopping(server: ServerProcess) -> tuple[set[str], list[grpc.StatusCode]]:
    """Send updates over one channel, 32 at a time, until the server is gone; return what was acknowledged, and how
    the others ended."""
    acknowledged, refused = set[str](), list[grpc.StatusCode]()
    numbers = iter(range(10**6))

    async with grpc.aio.insecure_channel(server.address, [("grpc.enable_retries", 0)]) as channel:
        stub = RecommenderServiceStub(channel)

        async def send() -> None:
            while not refused or len(acknowledged) < 200:
                number = next(numbers)
                try:
                    await stub.UpdateUser(update(number), timeout=20)
                except grpc.aio.AioRpcError as error:
                    refused.append(error.code())
                    return
                acknowledged.add(str(number))
                if len(acknowledged) == 200:
                    server.signal(signal.SIGTERM)

        await asyncio.gather(*(send() for _ in range(32)))
    return acknowledged, refused


async def test_no_admitted_call_is_lost(tmp_path: Path):
    """From SIGTERM on a call is answered or refused with UNAVAILABLE, nothing else; what was acknowledged is there
    after the next start, and the server ends with status 0."""
    with hash_serving(tmp_path) as server:
        acknowledged, refused = await acknowledged_while_stopping(server)
        assert server.ended() == 0
    assert set(refused) == {grpc.StatusCode.UNAVAILABLE}
    with hash_serving(tmp_path) as server:
        stored = {one.event.event_id for user in range(7) for one in server.client.export_user(f"u{user}")}
    assert acknowledged <= stored


async def test_a_stream_ends_where_it_is(tmp_path: Path):
    """What was sent on it is answered; then it ends with UNAVAILABLE, and the stop waits no longer for it."""
    with hash_serving(tmp_path, drain_s=60) as server:
        asked = asyncio.Event()

        async def requests() -> AsyncIterator[pb.UpdateUserStreamRequest]:
            for number in range(100):
                yield pb.UpdateUserStreamRequest(request=update(number))
            await asked.wait()

        async with grpc.aio.insecure_channel(server.address) as channel:
            stream = RecommenderServiceStub(channel).UpdateUserStream(requests())
            answers = [await stream.read() for _ in range(100)]
            begin_s = time.monotonic()
            server.signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stream.read()
            asked.set()
        assert server.ended() == 0
        assert time.monotonic() - begin_s < 30
    assert all(answer.response.applied_count for answer in answers)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def waiting_call(channel: grpc.Channel) -> grpc.Future:
    """Return a call under way that takes long."""
    request = pb.RecommendRequest(user_id="ada", min_revision=LATER)
    call = RecommenderServiceStub(channel).Recommend.future(request, timeout=PATIENCE_S)
    AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest())  # which came after it
    return call


def test_a_stop_takes_no_longer_than_it_may(tmp_path: Path):
    """A call that outlasts drain_s is cut off, and the server ends with status 0."""
    with hash_serving(tmp_path, drain_s=0.5) as server, grpc.insecure_channel(server.address) as channel:
        call = waiting_call(channel)
        begin_s = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begin_s < 15
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_second_signal_ends_it_at_once(tmp_path: Path):
    """Whatever is under way."""
    with hash_serving(tmp_path, drain_s=60) as server, grpc.insecure_channel(server.address) as channel:
        call = waiting_call(channel)
        server.signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            server.ended(patience_s=1)
        server.signal(signal.SIGINT)
        assert server.ended(patience_s=15) == -signal.SIGINT
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
