"""While the disk fails under a running server, what is in memory serves on, writes are refused with what to do, nothing
acknowledged is lost, and all goes on once the disk does."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from error_details import error_of
from faulty_disk import FailingCalls
from server_process import ServerProcess, serving
from typer.testing import CliRunner

from recwire import Event, Item, to_bytes
from recwire.v1 import catalog_service_pb2, recommender_service_pb2
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.cli import app

DIM = 384


@dataclass(frozen=True)
class Failing:
    """A server whose disk can be made to fail, and its calls without a client's retries."""

    server: ServerProcess
    calls: FailingCalls
    recommender: RecommenderServiceStub
    catalog: CatalogServiceStub

    def update(self, user_id: str, event_id: str) -> list[str]:
        """Record an event on an item; return the ids that were known already."""
        event = Event(event_id=event_id, item_id="i1")
        request = recommender_service_pb2.UpdateUserRequest(user_id=user_id, events=[event])
        return list(self.recommender.UpdateUser(request).duplicate_event_ids)

    def upsert(self, item_id: str) -> None:
        request = catalog_service_pb2.UpsertItemsRequest(items=[item(item_id, 0)])
        self.catalog.UpsertItems(request)


def item(item_id: str, place: int) -> Item:
    return Item(item_id=item_id, vector=to_bytes([float(n == place) for n in range(DIM)]))


def refused(call: grpc.RpcError) -> tuple[grpc.StatusCode, str, str]:
    """Return an error's code, its reason for programs, and its message."""
    told = error_of(call)
    return told.code, told.details["ErrorInfo"].reason, told.message


@pytest.fixture
def failing(int8_model: Path, tmp_path: Path) -> Iterator[Failing]:
    """A server with 20 items, the user ada in memory, and more users on the disk than SQLite keeps in memory."""
    calls = FailingCalls(tmp_path, tmp_path / "data")
    with serving(int8_model, tmp_path / "data") as server:
        server.client.upsert_items([item(f"i{n}", n) for n in range(20)])
        for user_id in ("ada", "bea"):
            server.client.update_user(user_id, [Event(event_id=f"e{n}", item_id=f"i{n}") for n in range(3)])
        for n in range(30):
            server.client.update_user(f"other{n}", [Event(vector=item("", n % 20).vector)] * 100)
        server.kill9()
    with serving(int8_model, tmp_path / "data", environment=calls.environment) as server:
        channel = grpc.insecure_channel(server.address, options=[("grpc.enable_retries", 0)])
        with channel:
            server.client.recommend("ada")
            yield Failing(server, calls, RecommenderServiceStub(channel), CatalogServiceStub(channel))


@pytest.mark.parametrize(
    ("call", "error", "advice"),
    [
        ("fsync", errno.EIO, "disk I/O error: the data directory's disk is full, read-only, or fails"),
        ("write", errno.ENOSPC, "database or disk is full: free space on the data directory's disk"),
        ("write", errno.EROFS, "disk I/O error: the data directory's disk is full, read-only, or fails"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else None,
)
def test_writes_are_refused_until_the_disk_takes_them(
    call: str, error: int, advice: str, failing: Failing, int8_model: Path, tmp_path: Path
):
    """UNAVAILABLE, with a time to come back and what to do; reads go on; what was refused counts once when it is sent
    again, and after a crash all that was acknowledged is there."""
    before = failing.server.client.recommend("ada")
    with failing.calls.failing(call, error):
        for write in (lambda: failing.update("ada", "late"), lambda: failing.upsert("late")):
            with pytest.raises(grpc.RpcError) as raised:
                write()
            code, reason, message = refused(raised.value)
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_WRITE_FAILED")
            assert "RetryInfo" in error_of(raised.value).details
            assert message.startswith("the write was not stored: ")
            assert advice in message
        assert failing.server.client.recommend("ada") == before
        assert failing.server.client.get_user("bea").event_count == 3
    assert failing.update("ada", "late") == []
    failing.upsert("late")
    failing.server.kill9()
    checked = CliRunner().invoke(app, ["check", "--data-dir", str(tmp_path / "data")])
    assert checked.exit_code == 0, checked.output
    with serving(int8_model, tmp_path / "data") as server:
        assert server.client.get_user("ada").event_count == 4
        assert server.client.get_item("late").item_id == "late"


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_crash_after_a_refused_write_leaves_it_whole_or_not_at_all(
    call: str, failing: Failing, int8_model: Path, tmp_path: Path
):
    """What was refused because of the fsync may come back with the crash; sent again it counts once in any case."""
    assert failing.update("ada", "good") == []
    with failing.calls.failing(call, errno.EIO), pytest.raises(grpc.RpcError):
        failing.update("ada", "late")
    failing.server.kill9()
    with serving(int8_model, tmp_path / "data") as server:
        assert server.client.get_user("ada").event_count in (4, 5)
        server.client.update_user("ada", [Event(event_id=event_id, item_id="i1") for event_id in ("good", "late")])
        assert server.client.get_user("ada").event_count == 5


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errno.ESTALE, grpc.StatusCode.UNAVAILABLE, "STORE_READ_FAILED"),
        (errno.EIO, grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED"),  # SQLite takes a sector that cannot be read for lost
    ],
)
def test_who_is_in_memory_is_served_while_the_disk_cannot_be_read(
    error: int, code: grpc.StatusCode, reason: str, failing: Failing
):
    """Others are told what to do, until it can be read again."""
    before = failing.server.client.recommend("ada")
    request = recommender_service_pb2.RecommendRequest(user_id="other15")
    with failing.calls.failing("read", error):
        assert failing.server.client.recommend("ada") == before
        assert failing.server.client.recommend(item_id="i1").recommendations
        with pytest.raises(grpc.RpcError) as raised:
            failing.recommender.Recommend(request)
        assert refused(raised.value)[:2] == (code, reason)
        assert "the system's log says" in refused(raised.value)[2]
    assert failing.recommender.Recommend(request).recommendations


def test_a_write_whose_effect_cannot_be_read_counts_once(failing: Failing):
    """A late event makes the user's state anew from the disk; where that cannot be read, it is stored and acknowledged
    all the same, and the next to ask reads it."""
    late = Event(event_id="late", item_id="i9")
    late.event_time.FromSeconds(1_000_000_000)
    failing.update("ada", "soon")  # the writer has read what it needs for another event of hers
    for n in range(30):  # the reader holds her pages no longer
        failing.server.client.get_user(f"other{n}")
    request = recommender_service_pb2.UpdateUserRequest(user_id="ada", events=[late])
    with failing.calls.failing("read", errno.ESTALE):
        assert failing.recommender.UpdateUser(request).applied_count == 1
    assert failing.server.client.get_user("ada").event_count == 5
    assert list(failing.recommender.UpdateUser(request).duplicate_event_ids) == ["late"]
    (answer,) = failing.server.client.check_users()
    assert list(answer.differing_user_ids) == []


def test_a_directory_that_is_moved_away_takes_no_writes(failing: Failing, tmp_path: Path):
    """They would go where nobody finds them; once it is back, they go on."""
    before = failing.server.client.recommend("ada")
    os.rename(tmp_path / "data", tmp_path / "moved")
    with pytest.raises(grpc.RpcError) as raised:
        failing.update("ada", "late")
    code, reason, message = refused(raised.value)
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_WRITE_FAILED")
    assert "was moved, removed or replaced while the server runs on it: put it back" in message
    assert failing.server.client.recommend("ada") == before
    os.rename(tmp_path / "moved", tmp_path / "data")
    assert failing.update("ada", "late") == []
