"""Whether the snapshot of the index is whole, and of what the database has."""

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from recwire_server.check import Checked
from recwire_server.index.snapshot_folder import (
    ROWS,
    DamagedSnapshotError,
    SnapshotContent,
    folder_of,
    newest_folder,
    read_content,
)
from recwire_server.store.row import vector_from_blob
from recwire_server.vector_space import VectorSpace

OLDER = "the database is older (was its -wal file removed?)"
ANEW = "it is built at the next start"
ROUNDING = 1e-6  # processors may differ in the last digit


def check_snapshot(directory: Path, connection: sqlite3.Connection, meta: Mapping[str, str]) -> Checked:
    """Check the files against their hashes, and every row against the table of items."""
    try:
        content = read_content(newest_folder(directory))
    except DamagedSnapshotError as error:
        return Checked("index snapshot", 1, [f"the index snapshot is damaged, and {ANEW}: {error}"])
    if content is None:
        return Checked(f"index snapshot: none; {ANEW}", 0, [])
    (serving,) = connection.execute("SELECT MAX(generation) FROM generations").fetchone()
    is_outdated = serving is not None and content.generation < serving
    what = f"index snapshot: outdated; {ANEW}" if is_outdated else "rows of the index snapshot"
    problems = [*_form_faults(content, int(meta["dim"]), serving or 0), *_key_faults(content, connection)]
    if not problems:
        problems = list(_vector_faults(directory, content, connection))
    return Checked(what, len(content.keys), [f"the index snapshot: {problem}" for problem in problems])


def _form_faults(content: SnapshotContent, dim: int, serving: int) -> Iterator[str]:
    if content.dim != dim:
        yield f"its vectors have {content.dim} dimensions; the directory's have {dim}"
    # A server that is killed before it serves a generation leaves the snapshot of the next one.
    if content.generation > serving + 1:
        yield f"it is of generation {content.generation:,}; the newest in the database is {serving:,}"


def _key_faults(content: SnapshotContent, connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong with the keys. A later revision in the table, of a deleted item too, is as it should be: the
    server applies what came after the snapshot."""
    seen = set()
    for item_id, revision in content.keys:
        row = connection.execute("SELECT revision FROM items WHERE item_id = ?", (item_id,)).fetchone()
        if item_id in seen:
            yield f"item {item_id!r} is in it more than once"
        elif row is None:
            yield f"item {item_id!r} is in it, but in no row of the table items: {OLDER}"
        elif revision > row[0]:
            yield f"item {item_id!r} has revision {revision:,} in it, but {row[0]:,} in the table: {OLDER}"
        seen.add(item_id)


def _vector_faults(directory: Path, content: SnapshotContent, connection: sqlite3.Connection) -> Iterator[str]:
    """Yield which rows are not what the table's vectors make, of items that have not changed since. A snapshot of
    another vector space than the table's is left aside by the next start, and is not compared."""
    found = connection.execute("SELECT mean FROM generations WHERE generation = ?", (content.generation,)).fetchone()
    space = VectorSpace(None if found is None or found[0] is None else vector_from_blob(found[0]))
    if found is None or space.fingerprint != content.fields["space"]:
        return
    path = folder_of(directory, content.generation) / ROWS
    rows = np.memmap(path, "<f4", "r", shape=(len(content.keys), content.dim))
    for label, (item_id, revision) in enumerate(content.keys):
        vector, now = connection.execute("SELECT vector, revision FROM items WHERE item_id = ?", (item_id,)).fetchone()
        if now == revision and not np.allclose(space.map_one(vector_from_blob(vector)), rows[label], atol=ROUNDING):
            yield f"item {item_id!r} has another vector in it than in the table"
