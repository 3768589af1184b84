"""A data directory that an older version wrote."""

import sqlite3
from pathlib import Path

import numpy as np

from recwire import Client, Event
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

# What version 1 made, as it was; the rest of its tables is as it is now.
VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE items (
    item_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, deleted INTEGER NOT NULL, title TEXT NOT NULL,
    texts TEXT NOT NULL, attributes TEXT NOT NULL, publish_time_ns INTEGER, expire_time_ns INTEGER,
    from_client INTEGER NOT NULL, vector BLOB NOT NULL
) STRICT;
CREATE INDEX items_by_revision ON items (revision);
CREATE TABLE events (
    revision INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL, event_id TEXT NOT NULL, item_id TEXT, text TEXT,
    vector BLOB, type INTEGER NOT NULL, weight REAL, event_time_ns INTEGER NOT NULL, record_time_ns INTEGER NOT NULL,
    recommendation_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (user_id, event_id);
CREATE TABLE users (user_id TEXT PRIMARY KEY, event_count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE generations (
    generation INTEGER PRIMARY KEY, mean BLOB, mean_item_count INTEGER NOT NULL
) STRICT;
"""


def write_version_1(data_dir: Path) -> None:
    """Write a directory with two items and a user of two events."""
    data_dir.mkdir()
    database = sqlite3.connect(data_dir / "recwire.sqlite3")
    database.executescript(VERSION_1)
    model, dim = HashEncoder().model, HashEncoder().dim
    meta = {"schema_version": "1", "catalog_revision": "1", "dim": str(dim)}
    meta |= {"model_name": model.name, "model_version": model.version}
    database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    for number, item_id in enumerate("ab"):
        vector = np.eye(dim, dtype="<f4")[number].tobytes()
        row = (item_id, 1, 0, f"title {item_id}", "[]", '{"new": true}', None, None, 1, vector)
        database.execute(f"INSERT INTO items VALUES ({', '.join('?' * len(row))})", row)
    for event_id in "12":
        row = ("ada", event_id, "a", None, None, 1, None, int(event_id), int(event_id), "")
        database.execute(f"INSERT INTO events VALUES ({event_id}, {', '.join('?' * len(row))})", row)
    database.execute("INSERT INTO users VALUES ('ada', 2)")
    database.execute("INSERT INTO generations VALUES (1, NULL, 0)")
    database.commit()
    database.close()


def test_a_directory_of_version_1_serves_on(tmp_path):
    """Items and users are there as they were, new writes go on, and the directory opens again."""
    write_version_1(tmp_path / "old")
    flags = {"listen": "127.0.0.1:0", "data_dir": tmp_path / "old"}
    for start in range(2):
        with running_server(load_settings(flags), HashEncoder()) as address, Client(address) as client:
            assert client.get_user("ada").revision == 2 + start
            assert client.get_user("ada").event_count == 2 + start
            assert [one.item_id for one in client.recommend("ada").recommendations] == ["b"]
            assert client.get_item("b").attributes["new"].flag
            client.update_user("ada", [Event(event_id=f"new {start}", item_id="a")])
            client.upsert_items([client.get_item("b")])
