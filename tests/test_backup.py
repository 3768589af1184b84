"""A backup is what a server had acknowledged when it was made, and what is restored from it answers the same."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filled_directory import everything, fill, filled, serving
from test_upgrade import write_version_1
from typer.testing import CliRunner, Result

from recwire import Event
from recwire_server.cli import app
from recwire_server.index import snapshot_folder
from recwire_server.store import DataDirectoryError
from recwire_server.store.database import BACKUP_FILE, DATABASE_FILE

INDEX = snapshot_folder.FOLDER


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [command, *map(str, arguments)], env={"COLUMNS": "200"})


def succeed(command: str, *arguments: object) -> str:
    result = run(command, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(command: str, *arguments: object) -> str:
    result = run(command, *arguments)
    assert result.exit_code == 1, result.output
    return result.stderr


def state_of(folder: Path) -> list[tuple[str, str, int]]:
    return [
        (str(path), hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "", path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    ]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server with a graph that has ended; not to be changed."""
    return filled(tmp_path_factory.mktemp("stopped") / "data", 300)


@pytest.fixture(scope="module")
def saved(stopped: Path) -> Path:
    """A backup of it; not to be changed."""
    out = stopped.parent / "backup"
    succeed("backup", "--data-dir", stopped, out)
    return out


@pytest.fixture
def backup(saved: Path, tmp_path: Path) -> Path:
    """A backup that may be changed."""
    return Path(shutil.copytree(saved, tmp_path / "backup"))


@pytest.mark.parametrize("item_count", [50, 300], ids=["exact", "a graph"])
def test_what_is_restored_answers_as_the_running_server_did(item_count: int, tmp_path: Path):
    """Whole answers are equal, whatever was written after the backup."""
    with serving(tmp_path / "data") as client:
        fill(client, item_count)
        before = everything(client)
        told = succeed("backup", "--data-dir", tmp_path / "data", tmp_path / "backup")
        client.update_user("u1", [Event(item_id="i7")])
        client.delete_items(["i8"])
        assert everything(client) != before
    restored = succeed("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored")
    succeed("check", "--data-dir", tmp_path / "backup")
    succeed("check", "--data-dir", tmp_path / "restored")
    with serving(tmp_path / "restored") as client:
        assert everything(client) == before
    assert told.partition(" has ")[2] == restored.partition(" has ")[2]
    assert f"{before[0].item_count:,} items, {before[0].user_count:,} users" in told
    assert ("index snapshot: none; it is built" in told) == (item_count < 200)


def test_a_backup_beside_writers_is_one_moment(tmp_path: Path):
    """Every event that was acknowledged before it began is in it, and of the later ones a run without a gap; writes go
    on meanwhile."""
    stop, acknowledged = threading.Event(), {f"w{n}": 0 for n in range(4)}
    with serving(tmp_path / "data") as client:
        fill(client, 300)

        def write(user_id: str) -> None:
            while not stop.is_set():
                client.update_user(user_id, [Event(event_id=f"{acknowledged[user_id]:06}", item_id="i1")])
                acknowledged[user_id] += 1

        writers = [threading.Thread(target=write, args=[user_id]) for user_id in acknowledged]
        for writer in writers:
            writer.start()
        befores = []
        for n in range(5):
            befores.append(dict(acknowledged))
            succeed("backup", "--data-dir", tmp_path / "data", tmp_path / f"backup{n}")
        stop.set()
        for writer in writers:
            writer.join()
    for n, before in enumerate(befores):
        succeed("check", "--data-dir", tmp_path / f"backup{n}")
        with sqlite3.connect(tmp_path / f"backup{n}" / DATABASE_FILE) as connection:
            for user_id, count in before.items():
                sql = "SELECT event_id FROM events WHERE user_id = ? ORDER BY revision"
                events = [row[0] for row in connection.execute(sql, (user_id,))]
                assert len(events) >= count
                assert events == [f"{number:06}" for number in range(len(events))]
    assert all(count > 0 for count in befores[-1].values())


def test_a_stopped_directory_is_saved_and_stays_as_it_is(stopped: Path, tmp_path: Path):
    """No file of it is written, made or removed; the graph is in the backup."""
    before = state_of(stopped)
    told = succeed("backup", "--data-dir", stopped, tmp_path / "backup")
    assert state_of(stopped) == before
    assert "index snapshot: of generation" in told
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == [BACKUP_FILE, INDEX, DATABASE_FILE]


def test_what_a_killed_server_left_is_saved_with_its_log(tmp_path: Path):
    """What is only in the write-ahead log is in the backup, and the directory stays as it is."""
    with serving(tmp_path / "data") as client:
        fill(client, 50)
        before = everything(client)
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
    assert (tmp_path / "killed" / f"{DATABASE_FILE}-wal").stat().st_size
    state = state_of(tmp_path / "killed")
    succeed("backup", "--data-dir", tmp_path / "killed", tmp_path / "backup")
    assert state_of(tmp_path / "killed") == state
    succeed("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored")
    with serving(tmp_path / "restored") as client:
        assert everything(client) == before


def test_an_older_directory_is_saved_before_its_upgrade(tmp_path: Path):
    """The backup has the older schema, and a server that starts on what is restored upgrades it."""
    write_version_1(tmp_path / "old")
    succeed("backup", "--data-dir", tmp_path / "old", tmp_path / "backup")
    succeed("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored")
    assert "schema version 1" in fail("check", "--data-dir", tmp_path / "backup")
    with serving(tmp_path / "restored") as client:
        assert client.get_user("ada").event_count == 2


def test_what_is_in_the_way_is_not_replaced(stopped: Path, tmp_path: Path):
    """A folder with something in it, and a file, stay; an empty folder is taken."""
    for name in ("folder", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "file").touch()
    for out in ("folder", "folder/file"):
        assert f"{tmp_path / out} exists: name a folder" in fail("backup", "--data-dir", stopped, tmp_path / out)
    succeed("backup", "--data-dir", stopped, tmp_path / "empty")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "folder"]


def test_what_a_killed_backup_left_goes_with_the_next(stopped: Path, tmp_path: Path):
    """It lies under another name, and the next backup to the same place clears it away."""
    (tmp_path / ".out.partial" / "more").mkdir(parents=True)
    (tmp_path / ".out.partial" / DATABASE_FILE).write_bytes(b"half")
    succeed("backup", "--data-dir", stopped, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    succeed("check", "--data-dir", tmp_path / "out")


@pytest.mark.parametrize("moment", [DATABASE_FILE, INDEX, BACKUP_FILE])
def test_a_kill_leaves_no_backup_or_a_whole_one(moment: str, stopped: Path, tmp_path: Path):
    """Killed the moment that a file of it appears; the next one leaves nothing but itself."""
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    command = [sys.executable, "-m", "recwire_server", "backup", "--data-dir", str(stopped), str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (partial / moment).exists() and not out.exists():
            assert process.poll() in (None, 0)
        process.kill()
    if out.exists():
        succeed("check", "--data-dir", out)
    else:
        succeed("backup", "--data-dir", stopped, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_there_must_be_something_to_save(tmp_path: Path):
    """A folder without a database is told as such, and a missing one; nothing is made."""
    (tmp_path / "data").mkdir()
    assert f"has no {DATABASE_FILE}" in fail("backup", "--data-dir", tmp_path / "data", tmp_path / "out")
    assert run("backup", "--data-dir", tmp_path / "none", tmp_path / "out").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_database_is_not_saved(stopped: Path, tmp_path: Path):
    """A backup of it could take the place of a sound one."""
    data_dir = Path(shutil.copytree(stopped, tmp_path / "data"))
    with (data_dir / DATABASE_FILE).open("r+b") as file:
        file.seek(2 * 4096)
        file.write(os.urandom(6 * 4096))
    message = fail("backup", "--data-dir", data_dir, tmp_path / "out")
    assert "damaged" in message
    assert "recwire-server check" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("harm", ["damaged", "of another generation"])
def test_a_snapshot_that_does_not_fit_is_left_out(harm: str, stopped: Path, tmp_path: Path):
    """The backup is complete without: the index is built anew, and exact answers are the same."""
    data_dir = Path(shutil.copytree(stopped, tmp_path / "data"))
    if harm == "damaged":
        next((data_dir / INDEX).glob("*/header.json")).write_bytes(b"")
    else:
        with sqlite3.connect(data_dir / DATABASE_FILE) as connection:
            connection.execute("INSERT INTO generations SELECT MAX(generation) + 1, NULL, 0 FROM generations")
    assert "index snapshot: none" in succeed("backup", "--data-dir", data_dir, tmp_path / "backup")
    succeed("check", "--data-dir", tmp_path / "backup")
    succeed("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored")
    with serving(tmp_path / "restored") as restored, serving(data_dir) as original:
        answers = [client.recommend("u1", exact=True).recommendations for client in (restored, original)]
    assert answers[0] == answers[1]


def test_a_backup_is_not_served(backup: Path):
    """Serving would change it; the message has the command that makes a data directory of it."""
    before = state_of(backup)
    with pytest.raises(DataDirectoryError, match=f"`recwire-server restore {backup} --data-dir DIR`"), serving(backup):
        pass
    assert state_of(backup) == before


@pytest.mark.parametrize("file", [DATABASE_FILE, INDEX, BACKUP_FILE])
@pytest.mark.parametrize("harm", ["flipped", "cut", "removed"])
def test_a_damaged_backup_is_neither_restored_nor_sound(file: str, harm: str, backup: Path, tmp_path: Path):
    """Both commands name the file; nothing is made."""
    path = backup / file
    if path.is_dir():
        path = max(path.glob("*/*"), key=lambda one: one.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(content if harm == "flipped" else content[: len(content) // 2])
    restored = run("restore", backup, "--data-dir", tmp_path / "restored")
    checked = run("check", "--data-dir", backup)
    assert restored.exit_code == 1
    assert path.name in restored.stderr
    assert not (tmp_path / "restored").exists()
    if path.name != BACKUP_FILE or harm != "removed":  # without its manifest it is like any data directory
        assert checked.exit_code == 1
        assert path.name in checked.output


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "has format 2; this version reads 1"),
        ({"files": {"../outside": {"size_bytes": 1, "sha256": ""}}}, "lies outside the folder"),
        ({"files": None}, "is damaged"),
        ({"more": 1}, "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_told(change: dict[str, object], told: str, backup: Path, tmp_path: Path):
    """By both commands."""
    path = backup / BACKUP_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert told in fail("restore", backup, "--data-dir", tmp_path / "restored")
    assert told in fail("check", "--data-dir", backup)


def test_a_manifest_that_says_something_else_than_the_database_is_damage(backup: Path):
    """Each fact is compared; a file that nobody saved is named."""
    path = backup / BACKUP_FILE
    fields = json.loads(path.read_text())
    fields["content"]["event_count"] += 1
    fields["meta"]["model_name"] = "other"
    path.write_text(json.dumps(fields))
    (backup / "stranger").touch()
    told = run("check", "--data-dir", backup).stdout
    events = fields["content"]["event_count"]
    assert f"backup.json: event_count is {events}, but the database's is {events - 1}" in told
    assert "backup.json: model_name is 'other', but the database's is 'hash-encoder'" in told
    assert "stranger: it is no file of the backup" in told
    assert told.endswith("is damaged\n")


def test_a_directory_with_something_in_it_is_not_restored_to(backup: Path, tmp_path: Path):
    """Nor one on which a server runs; nothing in it changes."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert "is not empty" in fail("restore", backup, "--data-dir", tmp_path / "other")
    assert "is no directory" in fail("restore", backup, "--data-dir", tmp_path / "other" / "file")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file"]
    with serving(tmp_path / "data") as client:
        before = client.get_server_info().catalog_revision
        told = fail("restore", backup, "--data-dir", tmp_path / "data")
        assert f"a server runs on {tmp_path / 'data'} (process {os.getpid()})" in told
        assert client.get_server_info().catalog_revision == before


def test_an_empty_directory_is_restored_to(backup: Path, tmp_path: Path):
    """Also one with the lock of a server that has ended, what a killed restore has left, and a file system's own."""
    for name in ("lost+found", ".restore.partial", INDEX):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / "lock").write_text("1\n")
    (tmp_path / "data" / ".restore.partial" / DATABASE_FILE).write_bytes(b"half")
    succeed("restore", backup, "--data-dir", tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        INDEX, "lock", "lost+found", DATABASE_FILE,
    ]  # fmt: skip
    succeed("check", "--data-dir", tmp_path / "data")
