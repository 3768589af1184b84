"""import: how fast items and events go in, durable, beside the model and the disk alone.

Through what `recwire-server import` sends with, from a process on the same machine, without reading files. In turn:

- items with texts, beside the encoder called in this process for the same texts, on as many threads as the server has
- items with vectors, beside inserts of as many vectors into a table of SQLite
- events of users with twenty each, beside inserts of as many events

The inserts are of 256 rows a transaction, synced like the server's. No text comes twice, and no graph is built.
"""

import asyncio
import itertools
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from rich.table import Table

from benchmarks.encoder.sample import draw_sample
from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.served import SHARED_DATA, Served, default_encoder, served, settled
from benchmarks.stress import catalogue
from recwire import Client, Event, Item, to_bytes
from recwire.channel import Connection, Stubs
from recwire_server.encoder import Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.importing.call import CONNECT_TIMEOUT_S, connected
from recwire_server.importing.event import EventLine
from recwire_server.importing.event_import import EventImport
from recwire_server.importing.item import ItemLine
from recwire_server.importing.item_import import MAX_BATCH_SIZE, import_items
from recwire_server.importing.report import Report
from recwire_server.setting_source import load_settings

SEED = 7
EVENTS_A_USER = 20
TEXTS_A_TASK = 32  # sorted by length, as the encoder likes them
PATIENCE_S = 30.0
# All items stay below it, so that what is measured is no building of a graph; and no text comes from the cache.
FLAGS = ("--exact-search-max-items", "1000000", "--embedding-cache-bytes", "0", "--log-level", "warning")
LIMITS = {"items_with_texts": "raw_encode", "items_with_vectors": "raw_vector_inserts", "events": "raw_event_inserts"}


@dataclass(frozen=True)
class Size:
    """How much of each goes in in a round."""

    rounds: int = 10
    texts: int = 500
    vectors: int = 5_000
    events: int = 10_000


QUICK = Size(rounds=3, texts=100, vectors=1_000, events=2_000)


class Result(TypedDict):
    """What is kept, ready for JSON. paces: by contender: `count` a round, `per_s` the median, `rounds_per_s`,
    `cpu_ms` for one, of the server or of what stands beside it. per_s_ratio_to_limit: of medians. refused: of all that
    was sent."""

    model: str
    data: str
    threads: int
    seed: int
    rounds: int
    paces: dict[str, dict[str, Any]]
    per_s_ratio_to_limit: dict[str, float]
    refused: int


def run(quick: bool) -> Result:
    """Return the result. quick: fewer rounds, of less."""
    return measure_imports(QUICK if quick else Size())


def table(result: Result) -> Table:
    """Return the figures for people."""
    shown = Table("import", title=f"import: {result['model']}, {result['threads']} threads; texts: {result['data']}")
    for column in ("a second", "least", "most", "CPU ms", "ratio to limit"):
        shown.add_column(column, justify="right")
    for name, pace in result["paces"].items():
        rounds = pace["rounds_per_s"]
        figures = (f"{one:,.0f}" for one in (pace["per_s"], min(rounds), max(rounds)))
        shown.add_row(name, *figures, f"{pace['cpu_ms']:.3f}", str(result["per_s_ratio_to_limit"].get(name, "")))
    shown.caption = f"{result['refused']} refused"
    return shown


def measure_imports(size: Size) -> Result:
    """Return the result of so much."""
    encoder, threads = default_encoder(), load_settings({}).encoder_thread_count
    sample = draw_sample(SHARED_DATA)
    with (
        TemporaryDirectory(prefix="recwire-import-") as folder,
        served(Path(folder) / "data", *FLAGS) as server,
        Client(server.address, timeout_s=60) as client,
        ThreadPoolExecutor(threads) as pool,
    ):
        imports, inserts = _Imports(server.address), _Inserts(Path(folder) / "raw.sqlite")

        def encode_all(texts: Sequence[str]) -> None:
            by_length = sorted(texts, key=len)
            tasks = [by_length[first : first + TEXTS_A_TASK] for first in range(0, len(texts), TEXTS_A_TASK)]
            list(pool.map(lambda task: encode(encoder, task, Purpose.DOCUMENT), tasks))

        turns = {
            "items_with_texts": _Turn(imports.items, _text_items(_texts(sample.texts, size.texts))),
            "raw_encode": _Turn(encode_all, _texts(sample.texts, size.texts)),
            "items_with_vectors": _Turn(imports.items, _vector_items(size.vectors, encoder.dim)),
            "raw_vector_inserts": _Turn(inserts.vectors, _vector_items(size.vectors, encoder.dim)),
            "events": _Turn(imports.events, _event_lines(size)),
            "raw_event_inserts": _Turn(inserts.events, _event_lines(size)),
        }
        measured = measure(_contenders(turns, server, client), size.rounds, 1, 1)
        inserts.close()
    paces = {name: _pace(one, len(turns[name].batch)) for name, one in measured.items()}
    return {
        "model": encoder.model.name,
        "data": sample.data,
        "threads": threads,
        "seed": SEED,
        "rounds": size.rounds,
        "paces": paces,
        "per_s_ratio_to_limit": {
            name: round(paces[name]["per_s"] / paces[limit]["per_s"], 3) for name, limit in LIMITS.items()
        },
        "refused": imports.refused,
    }


class _Turn:
    """Something that is done with a batch, and the batches, which are made before it is timed."""

    def __init__(self, do: Callable[[Any], object], batches: Iterator[Sequence[Any]]) -> None:
        self._do, self._batches = do, batches
        self.batch: Sequence[Any] = ()

    def prepare(self) -> None:
        self.batch = next(self._batches)

    def call(self) -> None:
        self._do(self.batch)


def _contenders(turns: Mapping[str, _Turn], server: Served, client: Client) -> dict[str, Contender]:
    def contender(name: str, turn: _Turn) -> Contender:
        def prepare() -> None:
            settled(client)
            turn.prepare()

        return Contender(turn.call, server.threads_cpu_s if name in LIMITS else time.process_time, prepare)

    return {name: contender(name, turn) for name, turn in turns.items()}


def _pace(measured: Measurement, count: int) -> dict[str, Any]:
    return {
        "count": count,
        "per_s": round(1e3 * count / measured.p50_ms, 1),
        "rounds_per_s": [round(1e3 * count / ms, 1) for ms in measured.rounds_p50_ms],
        "cpu_ms": round(measured.cpu_ms / count, 4),
    }


class _Imports:
    """Sends items and events as `recwire-server import` does."""

    def __init__(self, address: str) -> None:
        self._connection = Connection(address)
        self._report = Report(Path("benchmark"), lambda message: print(message, file=sys.stderr))

    @property
    def refused(self) -> int:
        """How many lines the server did not take."""
        return self._report.refused

    def items(self, items: Sequence[Item]) -> None:
        """Return once the items are in."""
        lines = [ItemLine(number, item) for number, item in enumerate(items)]
        self._send(lambda stubs: import_items(stubs.catalog.ImportItems, lines, self._report, PATIENCE_S))

    def events(self, lines: Sequence[EventLine]) -> None:
        """Return once the events are in."""
        self._send(lambda stubs: EventImport(stubs.recommender.UpdateUser, self._report, PATIENCE_S).run(lines))

    def _send(self, send: Callable[[Stubs], Coroutine[Any, Any, None]]) -> None:
        async def connect_and_send() -> None:
            async with await connected(self._connection, CONNECT_TIMEOUT_S) as channel:
                await send(self._connection.stubs(channel))

        asyncio.run(connect_and_send())


class _Inserts:
    """Inserts of the same into two tables of SQLite, synced as the server's are; owned by the thread that made it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE item (id TEXT PRIMARY KEY, vector BLOB)")
        self._database.execute("CREATE TABLE event (id TEXT PRIMARY KEY, user TEXT, item TEXT)")

    def vectors(self, items: Sequence[Item]) -> None:
        """Return once they are on disk."""
        self._insert("INSERT INTO item VALUES (?, ?)", [(item.item_id, item.vector) for item in items])

    def events(self, lines: Sequence[EventLine]) -> None:
        """Return once they are on disk."""
        rows = [(line.event.event_id, line.user_id, line.event.item_id) for line in lines]
        self._insert("INSERT INTO event VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _insert(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        for first in range(0, len(rows), MAX_BATCH_SIZE):
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, rows[first : first + MAX_BATCH_SIZE])
            self._database.execute("COMMIT")


def _texts(sample: Sequence[str], count: int) -> Iterator[list[str]]:
    """Yield texts, none of them twice."""
    numbered = (f"{text} {number}" for number, text in enumerate(itertools.cycle(sample)))
    while True:
        yield list(itertools.islice(numbered, count))


def _text_items(batches: Iterator[list[str]]) -> Iterator[list[Item]]:
    numbers = itertools.count()
    for texts in batches:
        yield [Item(item_id=f"text-{next(numbers)}", texts=[text]) for text in texts]


def _vector_items(count: int, dim: int) -> Iterator[list[Item]]:
    vectors = catalogue(count, dim)
    for batch in itertools.count():
        yield [Item(item_id=f"{batch}-{number}", vector=to_bytes(one)) for number, one in enumerate(vectors)]


def _event_lines(size: Size) -> Iterator[list[EventLine]]:
    """Yield events on items with vectors that the warm-up has put in."""
    chance = random.Random(SEED)
    for batch in itertools.count():
        users = [f"user-{batch}-{number // EVENTS_A_USER}" for number in range(size.events)]
        yield [
            EventLine(
                number,
                user_id,
                None,
                Event(event_id=f"{batch}-{number}", item_id=f"0-{chance.randrange(size.vectors)}"),
            )
            for number, user_id in enumerate(users)
        ]
