"""A disk that takes half a second for an fsync: writes wait for it together, reads do not wait, deadlines hold."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
import pytest
from faulty_disk import FailingCalls
from server_process import ServerProcess, hash_serving

from recwire import AsyncClient, DeadlineExceededError, Event, Item, ResourceExhaustedError
from recwire.v1 import recommender_service_pb2
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

FSYNC_S = 0.5
IN_FLIGHT = 64
WRITES = 256
READS = 50


@dataclass(frozen=True)
class Slow:
    """A server on a disk that is slow, and what makes it so."""

    server: ServerProcess
    calls: FailingCalls
    data_dir: Path


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    """A server with items and the user ada, on a disk that can be slow."""
    calls = FailingCalls(tmp_path, tmp_path / "data")
    with hash_serving(tmp_path / "data", environment=calls.environment) as server:
        server.client.upsert_items([Item(item_id=f"i{n}", title=f"title {n}") for n in range(20)])
        server.client.update_user("ada", [Event(item_id="i1")])
        yield Slow(server, calls, tmp_path / "data")


async def write(address: str, count: int) -> list[str]:
    """Record one event for each of so many users, some dozens at a time; return those acknowledged."""
    acknowledged = []
    users = iter([f"u{n}" for n in range(count)])
    async with AsyncClient(address, timeout_s=60) as client, asyncio.TaskGroup() as tasks:

        async def write_some() -> None:
            for user in users:
                await client.update_user(user, [Event(event_id="e", item_id="i1")])
                acknowledged.append(user)

        for _ in range(IN_FLIGHT):
            tasks.create_task(write_some())
    return acknowledged


def read_s(server: ServerProcess) -> float:
    """Return how long reads take, in the middle: a recommendation for a user in memory, and an embedding."""
    times = []
    for number in range(READS):
        begin_s = time.perf_counter()
        server.client.recommend("ada")
        server.client.embed([f"text {number} {begin_s}"])
        times.append(time.perf_counter() - begin_s)
    return median(times)


def test_writes_share_the_slow_commits(slow: Slow):
    """64 in flight are written together, ten times as many as there are fsyncs and more, and survive a crash."""
    with slow.calls.slow("fsync", FSYNC_S):
        begin_s = time.monotonic()
        acknowledged = asyncio.run(write(slow.server.address, WRITES))
        took_s = time.monotonic() - begin_s
        slow.server.kill9()
    assert len(acknowledged) == WRITES
    assert took_s >= FSYNC_S
    assert WRITES / took_s > 10 / FSYNC_S
    with hash_serving(slow.data_dir) as server:
        assert {server.client.get_user(user).event_count for user in acknowledged} == {1}


async def test_reads_do_not_wait_for_writes(slow: Slow):
    """A user in memory, and the encoder, are there all the time; with 64 writes in flight reads take as long as with
    none, but for the CPU that those take."""
    quiet_s = read_s(slow.server)
    with slow.calls.slow("fsync", FSYNC_S):
        writing = asyncio.create_task(write(slow.server.address, WRITES))
        busy_s = await asyncio.to_thread(read_s, slow.server)
        await writing
    assert busy_s < max(10 * quiet_s, FSYNC_S / 10)


def test_a_write_that_is_late_is_whole_or_not_there(slow: Slow):
    """DEADLINE_EXCEEDED at the deadline, not when the disk is done, or refused at once by what the disk took of late;
    sent again it counts once, each event of it."""
    events = [Event(event_id=f"e{n}", item_id=f"i{n}") for n in range(3)]
    with slow.calls.slow("fsync", FSYNC_S):
        for number in range(6):
            begin_s = time.monotonic()
            with pytest.raises((DeadlineExceededError, ResourceExhaustedError)):
                slow.server.client.update_user(f"late{number}", events, timeout_s=FSYNC_S / 5)
            assert time.monotonic() - begin_s < FSYNC_S
    for number in range(6):
        update = slow.server.client.update_user(f"late{number}", events)
        assert update.applied_count in (0, 3)
        assert slow.server.client.get_user(f"late{number}").event_count == 3


def test_nothing_is_acknowledged_before_the_disk_has_it(slow: Slow):
    """A write takes as long as the fsync; killed before, the server has not said that it is there."""
    request = recommender_service_pb2.UpdateUserRequest(user_id="bea", events=[Event(event_id="e", item_id="i1")])
    with slow.calls.slow("fsync", FSYNC_S), grpc.insecure_channel(slow.server.address) as channel:
        call = RecommenderServiceStub(channel).UpdateUser.future(request)
        slow.server.client.recommend("ada")
        assert not call.done()
        begin_s = time.monotonic()
        assert call.result().applied_count == 1
        assert time.monotonic() - begin_s > FSYNC_S / 2
