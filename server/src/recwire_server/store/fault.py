"""What a failure of SQLite means for what was asked, and what to do about it."""

import sqlite3

from recwire_server.store import StoreDamagedError, StoreError, StoreReadError, StoreWriteError

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
ADVICE = {
    sqlite3.SQLITE_FULL: "free space on the data directory's disk",
    sqlite3.SQLITE_READONLY: "make the data directory and its files writable",
    sqlite3.SQLITE_IOERR: "the data directory's disk is full, read-only, or fails: the system's log says which",
    sqlite3.SQLITE_CANTOPEN: "see that the data directory is there, with its permissions, and that its disk has room",
    **dict.fromkeys(
        DAMAGED,
        "the system's log says whether the disk fails; stop the server, let `recwire-server check --data-dir DIR` say"
        " what is damaged, and restore a backup",
    ),
}


def told(error: sqlite3.Error) -> str:
    """Return SQLite's own words, and what to do."""
    advice = ADVICE.get(_primary_code(error))
    return f"{error}: {advice}" if advice else str(error)


def read_error(error: sqlite3.Error | ValueError) -> StoreError:
    """Return what to raise for a read that failed. ValueError: what was read is nothing that was ever written."""
    if isinstance(error, ValueError):
        return StoreDamagedError(f"the database is damaged: {error}: {ADVICE[sqlite3.SQLITE_CORRUPT]}")
    if _primary_code(error) in DAMAGED:
        return StoreDamagedError(f"the database is damaged: {told(error)}")
    return StoreReadError(f"the data directory cannot be read: {told(error)}")


def write_error(error: sqlite3.Error) -> StoreError:
    """Return what to raise for a write that failed."""
    if _primary_code(error) in DAMAGED:
        return StoreDamagedError(f"the write was not stored, the database is damaged: {told(error)}")
    return StoreWriteError(f"the write was not stored: {told(error)}")


def _primary_code(error: sqlite3.Error) -> int:
    """Return the code without its details, which are in the higher bits; 0: the error is not SQLite's own."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
