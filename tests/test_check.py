"""`recwire-server check` says that what is sound is sound, and names what is not."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import RunningServer, StartServer
from typer.testing import CliRunner, Result

from recwire import Client, Event, Item
from recwire_server.cli import app
from recwire_server.setting_source import load_settings
from recwire_server.store.database import DATABASE_FILE
from recwire_server.testing import HashEncoder, running_server

DIM = HashEncoder().dim


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments], env={"COLUMNS": "200"})


def fill(server: RunningServer) -> None:
    """Two users with events in and out of order, on items, texts, vectors and what is not in the catalogue."""
    client = server.client
    client.upsert_items([Item(item_id=f"item-{n}", title=f"a title {n}") for n in range(5)])
    for user_id in ("ada", "bob"):
        for n, seconds in enumerate((50, 70, 20, 30, 90)):
            event = Event(event_id=f"e{n}", item_id=f"item-{n}")
            event.event_time.FromSeconds(1_700_000_000 + seconds)
            client.update_user(user_id, [event])
        vector = np.ones(DIM, "<f4").tobytes()
        more = [Event(event_id="text", text="words"), Event(event_id="vector", vector=vector), Event(item_id="later")]
        client.update_user(user_id, more)
    client.forget_events("bob", ["e1"])
    client.delete_items(["item-4"])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data directory of a server that has ended."""
    settings = load_settings({"listen": "127.0.0.1:0", "data_dir": tmp_path / "data"})
    with running_server(settings, HashEncoder()) as address, Client(address) as client:
        fill(RunningServer(address, client))
    return tmp_path / "data"


def damage(data_dir: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(data_dir / DATABASE_FILE)
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def state_of(folder: Path) -> Iterator[tuple[str, str, int]]:
    for path in sorted(folder.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        yield path.name, content, path.stat().st_mtime_ns


def test_a_sound_directory_passes_and_stays_as_it_is(data_dir: Path):
    """Status 0; what was checked is counted; no file is written, made or removed."""
    before = list(state_of(data_dir))

    result = check("--data-dir", str(data_dir))

    assert result.exit_code == 0, result.output
    assert "hash-encoder, 32 dimensions, catalogue revision 2" in result.stdout
    counts = [line.split("│")[1:3] for line in result.stdout.splitlines() if line.startswith("│")]
    assert [(what.strip(), count.strip()) for what, count in counts[1:]] == [
        ("items", "5"),
        ("events", "15"),
        ("users", "2"),
        ("histories, replayed", "2"),
        ("index snapshot: none; it is built at the next start", "0"),
    ]
    assert result.stdout.endswith("is sound\n")
    assert list(state_of(data_dir)) == before


def test_a_directory_that_a_crash_left_is_checked_with_its_log(start_server: StartServer, tmp_path: Path):
    """What is only in the write-ahead log counts, and the log stays where it is."""
    fill(start_server())
    shutil.copytree(tmp_path / "data", tmp_path / "crashed")
    assert (tmp_path / "crashed" / f"{DATABASE_FILE}-wal").stat().st_size
    before = list(state_of(tmp_path / "crashed"))

    result = check("--data-dir", str(tmp_path / "crashed"))

    assert result.exit_code == 0, result.output
    assert list(state_of(tmp_path / "crashed")) == before


def test_a_directory_without_write_permission_is_checked(data_dir: Path):
    """Reading is enough."""
    for path in (data_dir, *data_dir.iterdir()):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert check("--data-dir", str(data_dir)).exit_code == 0
    finally:
        data_dir.chmod(0o755)


@pytest.mark.parametrize(
    ("sql", "values", "told"),
    [
        ("UPDATE users SET event_count = 9 WHERE user_id = 'ada'", (), "user 'ada': event_count is 9, but 8 events"),
        ("UPDATE users SET revision = 1 WHERE user_id = 'bob'", (), "user 'bob': revision is 1; the newest event's is"),
        ("UPDATE users SET revision = 99 WHERE user_id = 'bob'", (), "user 'bob': revision is 99"),
        ("DELETE FROM users WHERE user_id = 'ada'", (), "user 'ada': 8 events, but no row in users"),
        ("DELETE FROM events WHERE user_id = 'ada'", (), "user 'ada': event_count is 8, but 0 events are stored"),
        ("UPDATE items SET vector = x'00' WHERE item_id = 'item-2'", (), "item 'item-2': its vector has 1 bytes"),
        (
            "UPDATE items SET vector = ? WHERE item_id = 'item-2'",
            (np.full(DIM, np.nan, "<f4").tobytes(),),
            "item 'item-2': its vector has a number that is not finite",
        ),
        ("UPDATE items SET revision = 7 WHERE item_id = 'item-2'", (), "item 'item-2': its revision is 7, but the cat"),
        ("UPDATE items SET texts = '[' WHERE item_id = 'item-2'", (), "item 'item-2': its texts are no JSON"),
        (
            "UPDATE events SET vector = x'0000803f' WHERE event_id = 'text' AND user_id = 'bob'",
            (),
            "user 'bob': event 'text': its vector has 4 bytes; 32 dimensions take 128",
        ),
        ("UPDATE events SET vector = NULL WHERE event_id = 'text'", (), "event 'text': its vector is missing"),
        ("UPDATE events SET type = 77 WHERE event_id = 'e0'", (), "user 'ada': event 'e0': its type is 77"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named(data_dir: Path, sql: str, values: tuple[object, ...], told: str):
    """Status 1, and a sentence that names the user or the item, and what is wrong."""
    damage(data_dir, sql, *values)

    result = check("--data-dir", str(data_dir))

    assert result.exit_code == 1
    assert told in result.stdout
    assert result.stdout.endswith("is damaged\n")


def test_no_more_than_twenty_problems_are_named(data_dir: Path):
    """The rest is counted."""
    damage(data_dir, "UPDATE items SET vector = x'', texts = '', attributes = '', revision = 9")
    damage(data_dir, "UPDATE events SET type = 77")

    result = check("--data-dir", str(data_dir))

    assert result.exit_code == 1
    assert result.stdout.count("item 'item-") == 20
    assert "and 15 more" in result.stdout


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_database_is_damaged(data_dir: Path, share: float):
    """A file that lost its end fails, wherever it was cut."""
    database = data_dir / DATABASE_FILE
    os.truncate(database, int(database.stat().st_size * share))

    result = check("--data-dir", str(data_dir))

    assert result.exit_code == 1, result.output
    assert not isinstance(result.exception, sqlite3.Error)


def test_a_directory_that_a_server_uses_is_told_as_such(hash_server: RunningServer, tmp_path: Path):
    """Status 1, with the server's process and the way to check it."""
    result = check("--data-dir", str(tmp_path / "data"))

    assert result.exit_code == 1
    assert f"a server runs on {tmp_path / 'data'} (process {os.getpid()})" in result.stderr
    assert "--to HOST:PORT" in result.stderr


def test_a_folder_without_data_is_told_as_such(tmp_path: Path):
    """Status 1 for a folder that is none of recwire's, 2 for one that is not there."""
    other = check("--data-dir", str(tmp_path))
    missing = check("--data-dir", str(tmp_path / "missing"))

    assert (other.exit_code, missing.exit_code) == (1, 2)
    assert "is no data directory: it has no recwire.sqlite3" in other.stderr


@pytest.mark.parametrize("arguments", [(), ("--data-dir", ".", "--to", "127.0.0.1:1")])
def test_one_thing_is_checked(arguments: tuple[str, ...]):
    """Status 2 unless exactly one of --data-dir and --to is given."""
    result = check(*arguments)

    assert result.exit_code == 2
    assert "exactly one of" in result.stderr


def test_a_running_server_is_checked(hash_server: RunningServer):
    """Every user's live state is compared with a replay, and counted."""
    fill(hash_server)

    result = check("--to", hash_server.address)

    assert result.exit_code == 0, result.output
    assert result.stdout == "2 users checked: each is, to the last bit, what the stored events make\n"


def test_a_server_that_is_away_is_told():
    """Status 1, with its address."""
    result = check("--to", "127.0.0.1:1")

    assert result.exit_code == 1
    assert "nothing takes calls at 127.0.0.1:1" in result.stderr
