"""Whether a database holds what its server has acknowledged."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np

from recwire_server.check import Checked
from recwire_server.event import Event, EventType
from recwire_server.history import History, HistoryRules, VectorOf
from recwire_server.store.row import event_from_row, vector_from_blob
from recwire_server.store.sqlite import EVENT_COLUMNS
from recwire_server.vector import Vector

# The settings of the server are not in the directory. Replays are compared with a decay, so that the order counts.
REPLAY_RULES = HistoryRules(decay_per_event=0.9)
MAX_CACHED_VECTORS = 10_000  # items that users share are asked for again and again


def check_file(connection: sqlite3.Connection) -> Checked:
    """Let SQLite check its pages."""
    faults = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return Checked("pages of the database file", pages, [] if faults == ["ok"] else faults)


def _items(connection: sqlite3.Connection, meta: Mapping[str, str]) -> Checked:
    dim, catalog_revision = int(meta["dim"]), int(meta["catalog_revision"])
    count, problems = 0, []
    sql = "SELECT item_id, revision, vector, texts, attributes FROM items ORDER BY item_id"
    for item_id, revision, blob, texts, attributes in connection.execute(sql):
        count += 1
        faults = [_vector_fault(blob, dim), _json_fault("texts", texts, list)]
        faults.append(_json_fault("attributes", attributes, dict))
        if revision > catalog_revision:
            faults.append(f"its revision is {revision:,}, but the catalogue's is {catalog_revision:,}")
        problems += [f"item {item_id!r}: {fault}" for fault in faults if fault]
    for generation, blob in connection.execute("SELECT generation, mean FROM generations WHERE mean IS NOT NULL"):
        if fault := _vector_fault(blob, dim):
            problems.append(f"the mean of generation {generation}: {fault}")
    return Checked("items", count, problems)


def _events(connection: sqlite3.Connection, meta: Mapping[str, str]) -> Checked:
    count, problems, dim = 0, [], int(meta["dim"])
    types = {int(kind) for kind in EventType}
    sql = "SELECT user_id, event_id, item_id, vector, type, weight FROM events ORDER BY revision"
    for user_id, event_id, item_id, blob, type_, weight in connection.execute(sql):
        count += 1
        faults = [_vector_fault(blob, dim) if blob is not None or item_id is None else ""]
        if type_ not in types:
            faults.append(f"its type is {type_}, which is none")
        if weight is not None and not np.isfinite(weight):
            faults.append(f"its weight is {weight}")
        problems += [f"user {user_id!r}: event {event_id!r}: {fault}" for fault in faults if fault]
    return Checked("events", count, problems)


def _users(connection: sqlite3.Connection, meta: Mapping[str, str]) -> Checked:
    count, problems = 0, []
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    last_revision = row[0] if row else 0
    sql = (
        "SELECT user_id, event_count, users.revision, stored, newest FROM users LEFT JOIN (SELECT user_id,"
        " COUNT(*) AS stored, MAX(revision) AS newest FROM events GROUP BY user_id) USING (user_id) ORDER BY user_id"
    )
    for user_id, event_count, revision, stored, newest in connection.execute(sql):
        count += 1
        if event_count != (stored or 0) or not stored:
            problems.append(f"user {user_id!r}: event_count is {event_count:,}, but {stored or 0:,} events are stored")
        # Taking events back gives the user a revision of its own, past those of the events that are left.
        if not (newest or 0) <= revision <= last_revision:
            problems.append(
                f"user {user_id!r}: revision is {revision:,}; the newest event's is {newest or 0:,}, the log's"
                f" {last_revision:,}"
            )
    sql = (
        "SELECT user_id, COUNT(*) FROM events WHERE user_id NOT IN (SELECT user_id FROM users) GROUP BY user_id"
        " ORDER BY user_id"
    )
    problems += [
        f"user {user_id!r}: {stored:,} events, but no row in users" for user_id, stored in connection.execute(sql)
    ]
    return Checked("users", count, problems)


def _replays(connection: sqlite3.Connection, meta: Mapping[str, str]) -> Checked:
    """Compare each user's vector as a server makes it, event by event as they came, with one replay in their order."""
    count, problems, dim = 0, [], int(meta["dim"])
    vector_of = _vector_of(connection, dim)
    for user_id, events in _histories(connection):
        count += 1
        in_order = sorted(events, key=lambda event: event.place)
        replayed = History(REPLAY_RULES, vector_of, dim, in_order)
        if _as_they_came(events, vector_of, dim).vector != replayed.vector:
            problems.append(f"user {user_id!r}: the events one by one make another vector than their replay")
    return Checked("histories, replayed", count, problems)


def _histories(connection: sqlite3.Connection) -> Iterator[tuple[str, list[Event]]]:
    """Yield each user's events in the order in which they came; not those that the check of events names."""
    sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE user_id = ? ORDER BY revision"
    for (user_id,) in connection.execute("SELECT DISTINCT user_id FROM events ORDER BY user_id").fetchall():
        events = []
        for row in connection.execute(sql, (user_id,)):
            with suppress(ValueError):
                events.append(event_from_row(row))
        yield user_id, events


def _as_they_came(events: Sequence[Event], vector_of: VectorOf, dim: int) -> History:
    """Return the history that events make one by one; made anew where one belongs before those that are there."""
    history, is_behind = History(REPLAY_RULES, vector_of, dim), False
    last_place = (-(2**63), 0)

    def made_anew(count: int) -> History:
        return History(REPLAY_RULES, vector_of, dim, sorted(events[:count], key=lambda event: event.place))

    for count, event in enumerate(events):
        if event.place < last_place:
            is_behind = True  # of many in a row that are late, only the last makes it anew
            continue
        if is_behind:
            history, is_behind = made_anew(count), False
        history.append(event)
        last_place = event.place
    return made_anew(len(events)) if is_behind else history


def _vector_of(connection: sqlite3.Connection, dim: int) -> VectorOf:
    """Return what gives the vectors of events, in the plain space; none for damaged ones."""

    @lru_cache(MAX_CACHED_VECTORS)
    def of_item(item_id: str) -> Vector | None:
        row = connection.execute("SELECT vector FROM items WHERE item_id = ?", (item_id,)).fetchone()
        return vector_from_blob(row[0]) if row and not _vector_fault(row[0], dim) else None

    def vector_of(event: Event) -> Vector | None:
        if event.item_id is not None:
            return of_item(event.item_id)
        is_whole = event.vector is not None and event.vector.shape == (dim,) and bool(np.isfinite(event.vector).all())
        return event.vector if is_whole else None

    return vector_of


def _vector_fault(blob: bytes | None, dim: int) -> str:
    """Return what is wrong with a vector; empty: nothing."""
    if blob is None:
        return "its vector is missing"
    if len(blob) != 4 * dim:
        return f"its vector has {len(blob):,} bytes; {dim} dimensions take {4 * dim:,}"
    return "" if np.isfinite(vector_from_blob(blob)).all() else "its vector has a number that is not finite"


def _json_fault(column: str, text: str, kind: type) -> str:
    try:
        return "" if isinstance(json.loads(text), kind) else f"its {column} are no {kind.__name__}"
    except ValueError:
        return f"its {column} are no JSON"


CHECKS: Mapping[str, Callable[[sqlite3.Connection, Mapping[str, str]], Checked]] = {
    "items": _items,
    "events": _events,
    "users": _users,
    "histories": _replays,
}
"""In this order, by what is shown while they run."""
