"""A full or a read-only disk: what cannot be stored is refused with what to do, and nothing acknowledged is lost."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import server_process as process
from faulty_disk import full, read_only, small_disk
from filled_directory import GRAPH_FROM, everything, fill, serving, vectors
from server_process import failed_start
from typer.testing import CliRunner, Result
from waiting import wait_until

from recwire import Client, Event, Item, UnavailableError
from recwire_server.cli import app
from recwire_server.index import snapshot_folder
from recwire_server.store import StoreError
from recwire_server.store.database import DATABASE_FILE


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [command, *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 4 MB."""
    with small_disk(tmp_path / "disk", "4m") as folder:
        yield folder


def test_a_start_on_a_full_disk_says_so(int8_model: Path, disk: Path):
    """Whether or not there is data already; once there is room, the server starts."""
    for _ in range(2):
        with full(disk):
            ended = failed_start(int8_model, disk / "data")
        assert ended.returncode == 1
        assert "error: " in ended.stderr
        assert "Traceback" not in ended.stderr
        with process.serving(int8_model, disk / "data") as server:
            assert server.client.update_user("ada", [Event(item_id="i1")]).applied_count == 1
            assert server.terminate() == 0


def test_a_start_on_a_disk_that_fills_is_whole_or_told(disk: Path):
    """Wherever in the start the disk fills, what it leaves is no obstacle to the next one."""
    told: list[str] = []
    for left_bytes in range(0, 120_000, 8_192):
        with full(disk, left_bytes):
            try:
                with serving(disk / "data") as client:
                    assert client.get_server_info().item_count == 0
            except StoreError as error:
                told.append(str(error))
        with serving(disk / "data") as client:
            assert client.get_server_info().item_count == 0
        shutil.rmtree(disk / "data")
    assert told
    assert [message for message in told if "full" not in message and "No space left" not in message] == []


def test_writes_are_refused_while_the_disk_is_full(disk: Path):
    """All reads go on, nothing acknowledged is lost, and once there is room writes go on without a restart."""
    with serving(disk / "data") as client:
        fill(client, 50)
        with full(disk, left_bytes=100_000):
            event_count = refused_after(client)
            before = everything(client)
            with pytest.raises(UnavailableError, match="free space on the data directory's disk") as raised:
                client.upsert_items([Item(item_id=f"more{n}", title="word " * 2_000) for n in range(50)])
            assert raised.value.reason == "STORE_WRITE_FAILED"
            assert raised.value.retry_after_s
            assert everything(client) == before
            shutil.copytree(disk / "data", disk.parent / "killed")
        client.update_user("ada", [Event(event_id="late", text="title 3")])
        assert client.get_user("ada").event_count == event_count + 1
    assert run("check", "--data-dir", disk.parent / "killed").exit_code == 0
    with serving(disk.parent / "killed") as client:
        assert client.get_user("ada").event_count == event_count
        assert everything(client)[1:] == before[1:]


def refused_after(client: Client) -> int:
    """Write events until one is refused; return how many were acknowledged."""
    for count in range(1_000):
        try:
            client.update_user("ada", [Event(event_id=f"e{count}", text=f"title {count} " + "word " * 500)])
        except UnavailableError:
            return count
    raise AssertionError("the disk did not fill")


def test_an_index_whose_snapshot_has_no_room_serves(tmp_path: Path):
    """The graph is used all the same, what was written of the snapshot is removed, and the next start builds anew."""
    folder = tmp_path / "data" / snapshot_folder.FOLDER
    with small_disk(folder, "32k"):
        with serving(tmp_path / "data") as client:
            fill(client, GRAPH_FROM + 100)
            assert client.get_server_info().ef_search > 0
            assert list(folder.iterdir()) == []
            before = [client.recommend(vector=vector, exact=True) for vector in vectors(10, 4)]
        assert run("check", "--data-dir", tmp_path / "data").exit_code == 0
        with serving(tmp_path / "data") as client:
            wait_until(client, lambda: client.get_server_info().ef_search > 0)
            assert [client.recommend(vector=vector, exact=True) for vector in vectors(10, 4)] == before


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_a_backup_that_has_no_room_leaves_nothing(is_running: bool, tmp_path: Path):
    """It says where room is missing; the server does not notice."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        with serving(tmp_path / "data") as client:
            fill(client, 50)
            if is_running:
                done = run("backup", "--data-dir", tmp_path / "data", disk / "backup")
            before = everything(client)
        if not is_running:
            done = run("backup", "--data-dir", tmp_path / "data", disk / "backup")
        assert done.exit_code == 1
        assert "no backup was made, and nothing is left of it: " in done.stderr
        assert f"{disk} must be writable, and have room for what is in {tmp_path / 'data'}" in done.stderr
        assert list(disk.iterdir()) == []
    with serving(tmp_path / "data") as client:
        assert everything(client) == before


def test_a_restore_that_has_no_room_leaves_nothing(tmp_path: Path):
    """Neither in a directory that is there nor in one that it has made."""
    with serving(tmp_path / "data") as client:
        fill(client, 50)
    assert run("backup", "--data-dir", tmp_path / "data", tmp_path / "backup").exit_code == 0
    with small_disk(tmp_path / "disk", "64k") as disk:
        for data_dir in (disk / "made", disk):
            done = run("restore", tmp_path / "backup", "--data-dir", data_dir)
            assert done.exit_code == 1
            assert "nothing was restored: " in done.stderr
            assert [path.name for path in disk.iterdir() if path.name != "lock"] == []


def test_a_read_only_directory_is_told(tmp_path: Path):
    """A server does not start on it; it can be checked and saved."""
    with serving(tmp_path / "data") as client:
        fill(client, 50)
    with read_only(tmp_path / "data"):
        with pytest.raises(StoreError, match=r"cannot be opened: .*Read-only file system"), serving(tmp_path / "data"):
            pass
        assert run("check", "--data-dir", tmp_path / "data").exit_code == 0
        assert run("backup", "--data-dir", tmp_path / "data", tmp_path / "backup").exit_code == 0
        assert "no backup was made" in run("backup", "--data-dir", tmp_path / "data", tmp_path / "data" / "b").stderr


def test_a_read_only_database_is_told_at_the_start(tmp_path: Path):
    """Not at the first write."""
    with serving(tmp_path / "data") as client:
        fill(client, 50)
    with (
        read_only(tmp_path / "data" / DATABASE_FILE),
        pytest.raises(StoreError, match="readonly database: make the data directory and its files writable"),
        serving(tmp_path / "data"),
    ):
        pass
    with serving(tmp_path / "data") as client:
        assert client.get_user("u1").event_count
