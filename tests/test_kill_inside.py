"""A server that is killed inside a rebuild, a snapshot or an upgrade comes back as if it had not begun it."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import pytest
from oracle import Oracle
from scenario import check_answer
from server_process import PATIENCE_S, ServerProcess, hash_serve_command, hash_serving
from sudden_end import kill_inside, watching
from test_crash_loop import check_stopped
from test_upgrade import write_version_1

from recwire import Event, Item, RecommendOptions, to_bytes
from recwire.v1.recommender_service_pb2 import RecommendRequest
from recwire_server.store.database import DATABASE_FILE
from recwire_server.store.schema import SCHEMA_VERSION
from recwire_server.store.stopped import opened
from recwire_server.testing import HashEncoder

KILLS = 4
DATABASE_LOG = f"{DATABASE_FILE}-wal"
# Long vectors, so that the graph of a few items takes a while to build and to write.
DIM = 1_024
ITEM_COUNT = 700
WITH_GRAPH = {
    "dim": DIM,
    "vector_space": "plain",
    "exact_search_max_items": 100,
    "search_method": "graph",
    "graph_min_items": 100,
}
CHANGED_COUNT = 250  # a call that changes so many of the items makes a new graph due


@dataclass
class Rebuilt:
    """A data directory whose graph is made anew again and again, and what is in it.

    generation: the last one that was seen to serve.
    """

    data_dir: Path
    oracle: Oracle = field(default_factory=lambda: Oracle(encoder=HashEncoder(DIM)))
    generation: int = 0

    @property
    def index_dir(self) -> Path:
        return self.data_dir / "index"

    def fill(self) -> None:
        """Write items and users, without a graph yet."""
        with hash_serving(self.data_dir, **WITH_GRAPH | {"exact_search_max_items": 10_000}) as server:
            for first in range(0, ITEM_COUNT, CHANGED_COUNT):
                self.upsert(server, range(first, min(first + CHANGED_COUNT, ITEM_COUNT)), seed=first)
            for n in range(3):
                events = [Event(event_id=str(m), item_id=f"i{100 * n + 90 * m}") for m in range(4)]
                self.oracle.record(f"user{n}", events, time.time_ns())
                server.client.update_user(f"user{n}", events)
            self.generation = server.client.get_server_info().index_generation

    @contextmanager
    def serving(self) -> Iterator[ServerProcess]:
        """A server on it, once it has the graph that was due; its answers are right before and after that."""
        with hash_serving(self.data_dir, **WITH_GRAPH) as server:
            self.check_answers(server)
            self.wait_for_graph(server)
            self.check_answers(server)
            yield server

    def upsert(self, server: ServerProcess, numbers: range, seed: int) -> None:
        vectors = np.random.default_rng(seed).standard_normal((len(numbers), DIM)) / DIM**0.5
        items = [Item(item_id=f"i{n}", vector=to_bytes(vector)) for n, vector in zip(numbers, vectors, strict=True)]
        server.client.upsert_items(items)
        self.oracle.upsert(items)

    def make_graph_due(self, server: ServerProcess) -> None:
        """Return once the write that makes it due is acknowledged."""
        self.upsert(server, range(CHANGED_COUNT), seed=self.generation)

    def wait_for_graph(self, server: ServerProcess) -> None:
        """Wait until a later generation serves, with a graph."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (info := server.client.get_server_info()).index_generation <= self.generation or not info.ef_search:
            assert time.monotonic() < deadline_s, "no graph came"
        self.generation = info.index_generation

    def durations_s(self, server: ServerProcess) -> tuple[float, float]:
        """Return how long it takes to build a graph, and to write it, until the database has the new generation."""
        with watching(self.index_dir) as index, watching(self.data_dir) as database:
            self.make_graph_due(server)
            due_s = time.monotonic()
            index.wait_for("*")
            database.forget()
            written_s = time.monotonic()
            database.wait_for(DATABASE_LOG)
            kept_s = time.monotonic()
        self.wait_for_graph(server)
        return written_s - due_s, kept_s - written_s

    def check_answers(self, server: ServerProcess) -> None:
        options = RecommendOptions(limit=20, explain=True, exact=True)
        for user_id in self.oracle.logs:
            answer = server.client.recommend(user_id, limit=20, explain=True, exact=True)
            expected = self.oracle.recommend(RecommendRequest(user_id=user_id, options=options), time.time_ns())
            check_answer(answer, expected, options)

    def is_cut_off(self) -> bool:
        """Whether the generation that was due when the server was killed had not come to serve."""
        return read(self.data_dir, "SELECT MAX(generation) FROM generations") == self.generation


@pytest.fixture
def rebuilt(tmp_path: Path) -> Rebuilt:
    """A directory with items and users, for which a graph is due."""
    rebuilt = Rebuilt(tmp_path / "data")
    rebuilt.fill()
    return rebuilt


@pytest.mark.parametrize("inside", ["rebuild", "snapshot"])
def test_a_kill_while_a_graph_is_made_leaves_right_answers(rebuilt: Rebuilt, inside: str):
    """While it is built, and while it is written: answers are right at once, the graph comes with the next start, and
    nothing of the attempt stays behind."""
    random, cut_off_count = Random(inside), 0
    with rebuilt.serving() as server:
        file_count = len(list(rebuilt.index_dir.rglob("*")))
        build_s, write_s = rebuilt.durations_s(server)
        rebuilt.make_graph_due(server)
        server.kill9()
    for kill in range(KILLS):
        share = (kill + random.random()) / KILLS
        with rebuilt.serving() as server, watching(rebuilt.index_dir) as index:
            rebuilt.make_graph_due(server)
            if inside == "snapshot":
                kill_inside(server.kill9, index, "*", share * write_s)
            else:
                time.sleep(share * build_s)
                server.kill9()
        cut_off_count += rebuilt.is_cut_off()
        check_stopped(rebuilt.data_dir)
    with rebuilt.serving() as server:
        assert server.terminate() == 0
    assert len(list(rebuilt.index_dir.rglob("*"))) <= file_count
    check_stopped(rebuilt.data_dir)
    assert cut_off_count, "no kill came in time: the durations are wrong"


USER_COUNT = 20_000  # so many that an upgrade takes some 20 ms


@pytest.fixture
def old_data(tmp_path: Path) -> Path:
    """A directory of version 1 with two items, a user, and many more with an event each."""
    data_dir = tmp_path / "old"
    write_version_1(data_dir)
    with closing(sqlite3.connect(data_dir / DATABASE_FILE)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executemany("INSERT INTO users VALUES (?, 1)", ([f"user {n}"] for n in range(USER_COUNT)))
        vector = np.ones(HashEncoder().dim, "<f4").tobytes()
        database.executemany(
            "INSERT INTO events VALUES (NULL, ?, 'e', NULL, NULL, ?, 1, NULL, 1, 1, '')",
            ([f"user {n}", vector] for n in range(USER_COUNT)),
        )
        database.commit()
    return data_dir


def test_a_kill_inside_an_upgrade_leaves_the_old_version_or_the_new(old_data: Path, tmp_path: Path):
    """The next start makes it the new one, with all that was in it."""
    random, old_count = Random("upgrade"), 0
    span_s = upgrade_s(shutil.copytree(old_data, tmp_path / "undisturbed"))
    for kill in range(KILLS):
        data_dir = shutil.copytree(old_data, tmp_path / f"kill {kill}")
        with watching(data_dir) as folder:
            process = subprocess.Popen(hash_serve_command(data_dir), stdout=subprocess.DEVNULL)
            kill_inside(process.kill, folder, f"{DATABASE_FILE}*", span_s * (kill + random.random()) / KILLS)
            process.wait(PATIENCE_S)
        version = read(data_dir, "SELECT value FROM meta WHERE name = 'schema_version'")
        assert version in ("1", str(SCHEMA_VERSION))
        old_count += version == "1"
        with hash_serving(data_dir) as server:
            assert server.client.get_server_info().user_count == USER_COUNT + 1
            for n in random.sample(range(USER_COUNT), 10):
                user = server.client.get_user(f"user {n}")
                assert (user.event_count, user.revision) == (1, 3 + n)
            assert [one.item_id for one in server.client.recommend("ada").recommendations] == ["b"]
            assert server.terminate() == 0
        assert {path.name for path in data_dir.iterdir()} <= {DATABASE_FILE, "lock", "index"}
        check_stopped(data_dir)
    assert old_count, "no kill came in time: the duration is wrong"


def upgrade_s(data_dir: Path) -> float:
    """Return the seconds from the first change of the directory's database to the last before the server takes
    calls."""
    with watching(data_dir) as folder:
        process = subprocess.Popen(hash_serve_command(data_dir), stdout=subprocess.DEVNULL)
        try:
            folder.wait_for(f"{DATABASE_FILE}*")
            begin_s = last_s = time.monotonic()
            while folder.wait_for(f"{DATABASE_FILE}*", 0.5):
                last_s = time.monotonic()
            return last_s - begin_s
        finally:
            process.kill()
            process.wait(PATIENCE_S)


def read(data_dir: Path, sql: str) -> object:
    """Return the one value that a query has on the database of a server that does not run."""
    with opened(data_dir) as connection:
        return connection.execute(sql).fetchone()[0]
