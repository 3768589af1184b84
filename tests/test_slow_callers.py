"""Callers that take or send too little, too slowly or too much: they cost what they sent, and nobody else waits."""

import asyncio
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from footprint import footprint, wait_until_let_go
from http2_caller import (
    DATA,
    END_HEADERS,
    HEADERS,
    PREFACE,
    RawConnection,
    call_headers,
    data_frames,
    frame,
    grpc_message,
    headers_frames,
    settings,
)
from malformed_http2 import EMBED, MESSAGE
from server_process import ServerProcess, hash_serving

from recwire import Event, Item
from recwire.v1 import catalog_service_pb2, recommender_service_pb2, user_service_pb2

HALF_OPEN = 1_000
SLOW_READERS = 20
INITIAL_WINDOW_SIZE = 4
TEXT = "word " * 1_000
MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with 3 MB of items and of a user's events."""
    with hash_serving(tmp_path / "data", drain_s=1) as server:
        server.client.upsert_items([Item(item_id=f"i{n}", title="a lamp", texts=[TEXT] * 4) for n in range(150)])
        server.client.update_user("ada", [Event(event_id=f"e{n}", text=TEXT) for n in range(250)])
        yield server
        assert server.terminate() == 0


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process, and servers that it starts, have more than a thousand connections."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < 2 * HALF_OPEN:
        pytest.skip(f"a process may have no more than {limits[1]} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2 * HALF_OPEN), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def call(stream: int, rpc: str, request: bytes) -> bytes:
    return headers_frames(stream, call_headers(f"/recwire.v1.{rpc}")) + data_frames(stream, grpc_message(request))


async def test_callers_that_read_nothing_do_not_hold_up_others(server: ServerProcess):
    """Answers wait for them, each no more than once; all is free again when they go."""
    before = footprint(server)
    embed = recommender_service_pb2.EmbedStreamRequest(request={"texts": ["a lamp"]}).SerializeToString()
    calls = (
        call(1, "CatalogService/ListItems", catalog_service_pb2.ListItemsRequest(page_size=1_000).SerializeToString()),
        call(1, "UserService/ExportUser", user_service_pb2.ExportUserRequest(user_id="ada").SerializeToString()),
        headers_frames(1, call_headers("/recwire.v1.RecommenderService/EmbedStream"))
        + data_frames(1, grpc_message(embed) * 2_000),
    )
    async with asyncio.TaskGroup() as tasks:
        gone = asyncio.Event()

        async def read_nothing(data: bytes) -> None:
            async with RawConnection(server.address) as connection:
                await connection.send(PREFACE + settings((INITIAL_WINDOW_SIZE, 0)) + data)
                await gone.wait()

        for number in range(SLOW_READERS):
            tasks.create_task(read_nothing(calls[number % len(calls)]))
        await asyncio.to_thread(lambda: [server.client.embed([f"text {n}"]) for n in range(200)])
        during = footprint(server)
        gone.set()
    after = wait_until_let_go(server, before)
    assert during.resident_bytes - before.resident_bytes < SLOW_READERS * 16 * MIB
    assert after.descriptors <= before.descriptors


async def test_a_request_may_come_byte_by_byte(server: ServerProcess):
    """Also where frames of one byte each carry it."""
    async with RawConnection(server.address) as connection:
        for place in range(len(data := PREFACE + settings() + call(1, "RecommenderService/Embed", MESSAGE))):
            await connection.send(data[place : place + 1])
            await asyncio.sleep(0)
        message = grpc_message(MESSAGE)
        pieces = b"".join(frame(DATA, 0, 3, message[place : place + 1]) for place in range(len(message)))
        await connection.send(headers_frames(3, call_headers(EMBED)) + pieces + data_frames(3, b""))
        await connection.read_until_ended([1, 3])
    assert [connection.answers.headers[stream]["grpc-status"] for stream in (1, 3)] == ["0", "0"]


async def test_a_thousand_half_open_connections_keep_nobody_out(many_files: None, tmp_path: Path):
    """Of those that say nothing, begin to, or have begun a call; others are answered, and all is free when they go."""
    begun = PREFACE + settings() + frame(HEADERS, END_HEADERS, 1, b"")
    with hash_serving(tmp_path / "data", drain_s=1) as server:
        server.client.embed(["a lamp"])
        before = footprint(server)
        connections = [RawConnection(server.address) for _ in range(HALF_OPEN)]
        for number, connection in enumerate(connections):
            await connection.__aenter__()
            await connection.send((b"", PREFACE[:10], PREFACE, PREFACE + settings(), begun)[number % 5])
        with grpc.insecure_channel(server.address) as channel:
            embed = channel.unary_unary(EMBED)
            assert len([await asyncio.to_thread(embed, MESSAGE, timeout=30) for _ in range(20)]) == 20
        during = footprint(server)
        for connection in connections:
            await connection.__aexit__()
        after = wait_until_let_go(server, before)
        assert during.resident_bytes - before.resident_bytes < HALF_OPEN * MIB // 4
        assert after.resident_bytes - before.resident_bytes < HALF_OPEN * MIB // 4
        assert server.terminate() == 0


def test_requests_over_4_mib_cost_no_lasting_memory(server: ServerProcess):
    """gRPC takes them in before it refuses them by their size; so it does what only says that it is larger."""
    large = bytes(4 * MIB + 1)
    rpcs = ("RecommenderService/Embed", "RecommenderService/UpdateUser", "CatalogService/UpsertItems")
    with grpc.insecure_channel(server.address) as channel:
        for number in range(60):
            if number == 20:
                before = footprint(server)
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(f"/recwire.v1.{rpcs[number % 3]}")(large, timeout=30)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    after = wait_until_let_go(server, footprint(server))
    assert after.resident_bytes - before.resident_bytes < 32 * MIB
    asyncio.run(lie_about_length(server))


async def lie_about_length(server: ServerProcess) -> None:
    """Say that 4 GiB will come, and send 4 bytes; another call on the connection is answered."""
    lie = frame(DATA, 0, 1, grpc_message(b"abcd", length=2**32 - 1))
    async with RawConnection(server.address) as connection:
        await connection.send(PREFACE + settings() + headers_frames(1, call_headers(EMBED)) + lie)
        await connection.send(call(3, "RecommenderService/Embed", MESSAGE))
        await connection.read_until_ended([3])
    assert connection.answers.headers[3]["grpc-status"] == "0"
    assert 1 not in connection.answers.ended


@pytest.mark.parametrize("rpc", ["EmbedStream", "UpdateUserStream"])
def test_streams_that_break_off_leave_nothing(rpc: str, server: ServerProcess):
    """RST of the connection in the middle of a stream, whatever is in work then; what was acknowledged stays."""
    event = Event(event_id="e", item_id="i1")
    request = (
        recommender_service_pb2.EmbedStreamRequest(request={"texts": [TEXT]})
        if rpc == "EmbedStream"
        else recommender_service_pb2.UpdateUserStreamRequest(request={"user_id": "bea", "events": [event]})
    )
    messages = grpc_message(request.SerializeToString()) * 30
    data = PREFACE + settings() + headers_frames(1, call_headers(f"/recwire.v1.RecommenderService/{rpc}"))
    data += b"".join(frame(DATA, 0, 1, messages[start : start + 8_192]) for start in range(0, len(messages), 8_192))
    server.client.update_user("bea", [event])
    before = footprint(server)
    host, _, port = server.address.rpartition(":")
    for length in range(200, len(data), len(data) // 100):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(data[:length])
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST at close
    wait_until_let_go(server, before)
    assert server.client.get_user("bea").event_count == 1
    assert [list(answer.differing_user_ids) for answer in server.client.check_users()] == [[]]
