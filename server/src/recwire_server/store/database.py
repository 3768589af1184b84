"""The file of the SQLite store: made, opened, upgraded, and refused where it does not fit."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from recwire_server.disk import sync
from recwire_server.store import DataDirectoryError
from recwire_server.store.schema import SCHEMA_VERSION, TABLES, UPGRADES

DATABASE_FILE = "recwire.sqlite3"
USER_ID_KEY = "user_id_key"  # a row of the table `meta`
BACKUP_FILE = "backup.json"  # a folder that has it is a backup: what is in it must stay as it is


@dataclass(frozen=True)
class StoredModel:
    """The model that the vectors of a data directory are from."""

    name: str
    version: str
    dim: int

    @property
    def meta(self) -> Mapping[str, str]:
        """The rows of the table `meta` that name it."""
        return {"model_name": self.name, "model_version": self.version, "dim": str(self.dim)}


def connect(data_dir: Path) -> sqlite3.Connection:
    """Return a connection in autocommit; transactions are begun by hand."""
    connection = sqlite3.connect(data_dir / DATABASE_FILE, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # fsync at every commit: an acknowledged write outlives power
    connection.execute("PRAGMA temp_store = MEMORY")  # a savepoint's journal is a file otherwise
    return connection


def refuse_backup(data_dir: Path) -> None:
    """Raise DataDirectoryError if the directory is a backup."""
    if (data_dir / BACKUP_FILE).exists():
        raise DataDirectoryError(
            f"{data_dir} is a backup, which serving would change: `recwire-server restore {data_dir} --data-dir DIR`"
            " makes a data directory of it"
        )


def open_database(data_dir: Path, model: StoredModel, user_id_key: str | None = None) -> sqlite3.Connection:
    """Return a connection to the directory's database, made or upgraded if need be.

    user_id_key: the fingerprint of the key with which user ids are made pseudonyms before they get here; None: they are
    not. A database that has had events takes no other. Raises DataDirectoryError for that, for what is not recwire's,
    is newer, or holds the vectors of another model, and for what is left of a database that was removed or emptied.
    """
    database = data_dir / DATABASE_FILE
    if not database.exists():
        _create(data_dir, model)
    elif not database.stat().st_size:
        raise DataDirectoryError(
            f"{database} is empty, what was in it is lost: restore a backup, or remove it to begin anew"
        )
    connection = connect(data_dir)
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        raise DataDirectoryError(f"{data_dir} holds another program's database: choose another --data-dir")
    found = dict(connection.execute("SELECT name, value FROM meta"))
    _check(data_dir, found, model)
    if (known_key := found.get(USER_ID_KEY)) != user_id_key:
        has_had_events = connection.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'events'").fetchone()
        _check_user_id_key(data_dir, known_key, user_id_key, bool(has_had_events))
    # A database that is read-only opens all the same: it must be told now, not at the first write.
    connection.executescript("BEGIN; UPDATE meta SET value = value WHERE name = 'dim'; ROLLBACK")
    _upgrade(connection, int(found["schema_version"]))
    if known_key != user_id_key:
        connection.execute("INSERT INTO meta VALUES (?, ?)", (USER_ID_KEY, user_id_key))
    return connection


def _create(data_dir: Path, model: StoredModel) -> None:
    """Make the database, whole or not at all, so that an empty one is never taken for a new one."""
    log = data_dir / f"{DATABASE_FILE}-wal"
    if log.exists() and log.stat().st_size:
        raise DataDirectoryError(
            f"{data_dir} has {log.name}, but no {DATABASE_FILE}: put it back, or restore a backup to another directory"
        )
    draft = data_dir / f"{DATABASE_FILE}.draft"
    for path in data_dir.glob(f"{draft.name}*"):  # of a start that was killed
        path.unlink()
    # Without a write-ahead log, from which a full disk could keep the rest out of the file that is renamed.
    with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        connection.executescript(f"BEGIN; {TABLES}")
        meta = {"schema_version": str(SCHEMA_VERSION), "catalog_revision": "0", **model.meta}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
    draft.rename(data_dir / DATABASE_FILE)
    sync(data_dir)


def _check(data_dir: Path, found: Mapping[str, str], model: StoredModel) -> None:
    if not model.meta.keys() | {"schema_version"} <= found.keys():
        raise DataDirectoryError(f"{data_dir} holds another program's database: choose another --data-dir")
    if found["schema_version"] not in map(str, [*UPGRADES, SCHEMA_VERSION]):
        raise DataDirectoryError(
            f"data directory {data_dir} has schema version {found['schema_version']}; this server reads"
            f" {SCHEMA_VERSION}: use the version of recwire-server that wrote it"
        )
    if any(found[name] != value for name, value in model.meta.items()):
        raise DataDirectoryError(
            f"data directory {data_dir} was written with model {found['model_name']}"
            f" ({found['model_version']}, {found['dim']} dimensions), but the server was given"
            f" {model.name} ({model.version}, {model.dim} dimensions): serve it"
            " with --model naming the folder of the first, or choose an empty --data-dir and import again"
        )


def _check_user_id_key(data_dir: Path, known: str | None, given: str | None, has_had_events: bool) -> None:
    """Raise DataDirectoryError unless a key may be used on a directory that knows another one, or none, so far."""
    if known is not None:
        what = f"the key that was given has fingerprint {given}" if given else "no key was given"
        raise DataDirectoryError(
            f"data directory {data_dir} keeps users under pseudonyms, made with the key of fingerprint {known}, but"
            f" {what}: give that key's file with --user-id-key-file; without it nobody can tell whose the events are"
        )
    if has_had_events:
        raise DataDirectoryError(
            f"data directory {data_dir} has, or had, events under user ids as they are, which --user-id-key-file does"
            " not change: serve it without, or choose an empty --data-dir and import the events again"
        )


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    while version < SCHEMA_VERSION:
        connection.executescript(
            f"BEGIN; {UPGRADES[version]} UPDATE meta SET value = '{version + 1}' WHERE name = 'schema_version'; COMMIT"
        )
        version += 1
