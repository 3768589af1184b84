"""A server that is stopped for a while and goes on (SIGSTOP, a laptop's lid, a virtual machine that is moved)."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_process import ServerProcess, hash_serving, serving

from recwire import AsyncClient, Client, DeadlineExceededError, Event, RecwireError

MISSED_CALLS = 50
DEADLINE_S = 1.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with the hash encoder."""
    with hash_serving(tmp_path / "data") as server:
        yield server


def test_five_seconds(int8_model: Path, tmp_path: Path):
    """What was asked before and has passed its deadline is not embedded any more; all else goes on by itself."""
    stop_and_go_on(int8_model, tmp_path, 5)


@pytest.mark.long
def test_thirty_seconds(int8_model: Path, tmp_path: Path):
    """The same, for as long as keepalive takes to notice."""
    stop_and_go_on(int8_model, tmp_path, 30)


def stop_and_go_on(model: Path, tmp_path: Path, stopped_s: float) -> None:
    with serving(model, tmp_path / "data", "--embedding-cache-bytes", "0") as server:
        server.client.update_user("ada", [Event(event_id="before", text="a lamp")])
        embedded = server.client.get_server_info().embedding_cache.miss_count
        asyncio.run(stop_under_calls(server, stopped_s))
        with grpc.insecure_channel(server.address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert server.client.get_user("ada").event_count == 1
        assert server.client.update_user("ada", [Event(event_id="after", text="a lamp")]).applied_count == 1
        assert [list(answer.differing_user_ids) for answer in server.client.check_users()] == [[]]
        # What the model was asked for meanwhile: the second event's text, and none of the calls that were missed.
        assert server.client.get_server_info().embedding_cache.miss_count - embedded <= 1 + 5
        assert server.terminate() == 0


async def stop_under_calls(server: ServerProcess, stopped_s: float) -> None:
    """Stop a server for so long, while clients call it that give up before it goes on."""
    async with AsyncClient(server.address, timeout_s=DEADLINE_S) as client:
        await client.get_server_info()
        server.send_signal(signal.SIGSTOP)
        begin_s = time.monotonic()
        calls = [client.embed([f"missed {number} " * 40]) for number in range(MISSED_CALLS)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceededError}
        await asyncio.sleep(begin_s + stopped_s - time.monotonic())  # for as long as the process is to be stopped
        server.send_signal(signal.SIGCONT)
        await client.get_server_info(timeout_s=30)


def test_writes_under_way_are_whole_or_not_there(server: ServerProcess):
    """Each that was acknowledged is there, and one that was not counts once when it is sent again."""
    with Client(server.address, timeout_s=DEADLINE_S) as client:
        acknowledged, unknown = [], []
        for number in range(200):
            if number == 100:
                server.send_signal(signal.SIGSTOP)
            if number == 102:
                server.send_signal(signal.SIGCONT)
            try:
                client.update_user("ada", [Event(event_id=f"e{number}", item_id="i1")], timeout_s=DEADLINE_S)
                acknowledged.append(number)
            except RecwireError:
                unknown.append(number)
    assert {100, 101} <= set(unknown)
    server.client.update_user("ada", [Event(event_id=f"e{number}", item_id="i1") for number in unknown])
    assert server.client.get_user("ada").event_count == 200
    server.kill9()
