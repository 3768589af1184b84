"""Appends to the log of events, many in one statement.

At each statement the writer lets go of the interpreter, and then waits until the event loop does: a group should take
few of them.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from recwire_server.event import Event
from recwire_server.store.row import Row, row_from_event

ROWS_A_STATEMENT = 64  # 640 values; every SQLite takes 999


@dataclass(frozen=True)
class Append:
    """A user's events that are to be appended."""

    user_id: str
    events: Sequence[Event]


def append(connection: sqlite3.Connection, appends: Sequence[Append]) -> Sequence[list[Event]]:
    """Append the events that are new; return them with their revisions, a list for each of the appends.

    The caller's transaction has all of it, or, where this raises, has to be rolled back.
    """
    rows = [(one.user_id, *row_from_event(event)) for one in appends for event in one.events]
    revisions = iter([revision for piece in _pieces(rows) for revision in _insert(connection, piece)])
    appended = [
        [event.recorded(revision) for event in one.events if (revision := next(revisions)) is not None]
        for one in appends
    ]
    changes = [(one.user_id, len(new), new[-1].revision) for one, new in zip(appends, appended, strict=True) if new]
    for piece in _pieces(changes):
        connection.execute(
            f"INSERT INTO users (user_id, event_count, revision) VALUES {_marks(piece)}"
            " ON CONFLICT DO UPDATE SET event_count = event_count + excluded.event_count, revision = excluded.revision",
            list(chain.from_iterable(piece)),
        )
    return appended


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[int | None]:
    """Return the revisions that rows of events got; None for those whose ids their users have already."""
    try:
        last = connection.execute(
            "INSERT INTO events (user_id, event_id, item_id, text, vector, type, weight, event_time_ns, record_time_ns,"
            f" recommendation_id) VALUES {_marks(rows)}",
            list(chain.from_iterable(rows)),
        ).lastrowid
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorname != "SQLITE_CONSTRAINT_UNIQUE":
            raise
        if len(rows) == 1:
            return [None]
        middle = len(rows) // 2
        return [*_insert(connection, rows[:middle]), *_insert(connection, rows[middle:])]
    assert last is not None, "rows were inserted"
    return range(last + 1 - len(rows), last + 1)


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in order, as many at a time as one statement takes: a power of two, so that few statements differ."""
    first = 0
    while first < len(rows):
        size = min(ROWS_A_STATEMENT, 1 << (len(rows) - first).bit_length() - 1)
        yield rows[first : first + size]
        first += size


def _marks(rows: Sequence[Row]) -> str:
    """Return the marks of the rows' values."""
    return ", ".join(["(" + ", ".join("?" * len(rows[0])) + ")"] * len(rows))
