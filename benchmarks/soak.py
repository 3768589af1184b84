"""soak: everything that callers do, for long: what a server holds does not grow.

What is stored stays the same size: items are replaced and deleted, users' events have the same ids again and again and
are forgotten, users are deleted. All rpcs are called, streams among them, connections come and go, and calls are
cancelled under way. Every few seconds all pause, and a sample is taken of what the process holds then. The growth is
that of the last fifth of the samples over the first, after the warm-up: of memory by their medians, of what is counted
by the least, since what ends just then comes and goes.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import psutil
from rich.table import Table

from recwire import (
    AsyncClient,
    Boost,
    Condition,
    Event,
    Filter,
    Item,
    NotFoundError,
    RecwireError,
    StringSet,
    UserUpdate,
)

SEED = 7
ITEMS, USERS, EVENT_IDS, TEXTS = 2_400, 50, 20, 2_000
ITEMS_A_WRITE, ITEMS_A_DELETE = 16, 4
PAUSE_S = 0.02  # between a caller's calls: what is measured takes time, not load
# After a call that was cancelled, of which gRPC 1.75 keeps a hundred bytes for good, also with a servicer of two lines:
# so they are one in forty calls, not one in three.
CANCEL_PAUSE_S = 0.2
REST_S = 0.3
NO_REVISION_YET = 2**62
# glibc gives threads arenas of their own, up to eight a core, which fill one after the other for many minutes.
ARENAS = "2"
SHARE = 0.2  # of the samples, at either end
GENRES = ["drama", "comedy", "crime", "western"]
# Small, so that they are full once the warm-up is over.
SETTINGS = {
    "embedding_cache_bytes": 1 << 20,
    "user_cache_bytes": 1 << 20,
    "max_standing_wait_s": 5.0,  # what is measured is no load: a busy machine refuses nothing
    "max_queue_wait_s": 5.0,
}


@dataclass(frozen=True)
class Length:
    """Seconds: before the first sample that counts, from then on, and from sample to sample."""

    warm_up_s: float
    duration_s: float
    sample_s: float


@dataclass(frozen=True)
class Sample:
    """What a server's process holds at a time: seconds since the first call. tasks: of asyncio."""

    time_s: float
    resident_bytes: int
    descriptors: int
    threads: int
    tasks: int


class Result(TypedDict):
    """What is kept, ready for JSON. growth: shares by what grows; calls: how many of each kind were answered."""

    warm_up_s: float
    duration_s: float
    growth: dict[str, float]
    calls: dict[str, int]
    errors: list[str]
    generations_built: int
    seed: int
    samples: list[dict[str, float]]


class SoakedServer:
    """A server in a process of its own that prints its number of tasks at SIGUSR1."""

    def __init__(self, address: str, process: subprocess.Popen[str]) -> None:
        self.address = address
        self._process = process

    def sample(self, time_s: float) -> Sample:
        """Return what it holds now."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        task_count = int(self._process.stdout.readline())
        process = psutil.Process(self._process.pid)
        return Sample(
            time_s=round(time_s, 1),
            resident_bytes=process.memory_info().rss,
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            tasks=task_count,
        )


def run(quick: bool) -> Result:
    """Return the result. quick: 3 minutes instead of 30."""
    length = Length(60, 120, 2) if quick else Length(300, 1_500, 5)
    with TemporaryDirectory(prefix="recwire-soak-") as folder:
        settings = {"data_dir": str(Path(folder) / "data"), "listen": "127.0.0.1:0", **SETTINGS}
        with soaked_server([sys.executable, "-m", "benchmarks.counting_server", json.dumps(settings)]) as server:
            return asyncio.run(soak(server, length))


@contextmanager
def soaked_server(command: Sequence[str]) -> Iterator[SoakedServer]:
    """Run the command that serves for the length of the block."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": ARENAS}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield SoakedServer(process.stdout.readline().split()[-1], process)
        finally:
            process.terminate()


async def soak(server: SoakedServer, length: Length) -> Result:
    """Call a server that holds nothing yet for so long, and sample it."""
    async with AsyncClient(server.address, timeout_s=60) as client:
        await client.upsert_items([_item(n, 0) for n in range(256)])
        for start in range(256, ITEMS, 256):
            await client.upsert_items([_item(n, 0) for n in range(start, min(start + 256, ITEMS))])
        before = await client.get_server_info()
        load = _Load(client, server.address)
        begin_s, samples = time.monotonic(), []
        while (time_s := time.monotonic() - begin_s) < length.warm_up_s + length.duration_s:
            await load.run(length.sample_s)
            with suppress(RecwireError):  # what was cancelled ends meanwhile: the server waits for what does not come
                await client.recommend("u1", min_revision=NO_REVISION_YET, timeout_s=REST_S)
            samples.append(server.sample(time_s))
        after = await client.get_server_info()
    counted = [sample for sample in samples if sample.time_s >= length.warm_up_s]
    return {
        "warm_up_s": length.warm_up_s,
        "duration_s": length.duration_s,
        "growth": {
            what: _growth([getattr(sample, what) for sample in counted], typical)
            for what, typical in (("resident_bytes", median), ("descriptors", min), ("threads", min), ("tasks", min))
        },
        "calls": load.counts,
        "errors": load.errors[:20],
        "generations_built": after.index_generation - before.index_generation,
        "seed": SEED,
        "samples": [asdict(sample) for sample in samples],
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    shown = Table("figure", "value", title="soak: what a server holds over time")
    for name, growth in result["growth"].items():
        shown.add_row(f"growth of {name.replace('_', ' ')}", f"{100 * growth:+.2f} %")
    for name in ("duration_s", "calls", "errors", "generations_built"):
        shown.add_row(name.replace("_", " "), str(result[name]))  # type: ignore[literal-required]  # one of the names
    return shown


def _growth(values: Sequence[float], typical: Callable[[Sequence[float]], float]) -> float:
    count = max(1, round(SHARE * len(values)))
    return round(typical(values[-count:]) / typical(values[:count]) - 1, 5)


class _Load:
    """The callers, each of which does one kind of thing."""

    def __init__(self, client: AsyncClient, address: str) -> None:
        self._client = client
        self._address = address
        self._chance = random.Random(SEED)
        self.counts: dict[str, int] = {}
        self.errors: list[str] = []

    async def run(self, duration_s: float) -> None:
        """Call for so long."""
        end_s = time.monotonic() + duration_s
        async with asyncio.TaskGroup() as tasks:
            for call in (
                *(self._embed, self._update, self._recommend, self._recommend, self._search, self._write_items),
                *(self._stream_texts, self._stream_events, self._delete_user, self._read, self._connect, self._cancel),
            ):
                tasks.create_task(self._repeat(call, end_s))

    async def _repeat(self, call: Callable[[], Awaitable[Any]], end_s: float) -> None:
        name = call.__name__.removeprefix("_")
        while time.monotonic() < end_s:
            try:
                await call()
            except NotFoundError:
                pass  # another caller has deleted the user meanwhile
            except RecwireError as error:
                self.errors.append(f"{name}: {error!r}")
            self.counts[name] = self.counts.get(name, 0) + 1
            await asyncio.sleep(PAUSE_S)

    async def _embed(self) -> None:
        await self._client.embed([self._text() for _ in range(4)])

    async def _update(self) -> None:
        user, events = self._user(), self._events()
        await self._client.update_user(user, events)
        if self._chance.random() < 0.5:
            await self._client.forget_events(user, [event.event_id for event in events])

    async def _recommend(self) -> None:
        options: dict[str, Any] = {
            "limit": self._chance.choice((1, 10, 100)),
            "explain": self._chance.random() < 0.5,
            "include_items": self._chance.random() < 0.2,
            "diversity": self._chance.choice((0.0, 0.3)),
        }
        if self._chance.random() < 0.5:
            options["filter"] = Filter(must=[self._condition()])
        if self._chance.random() < 0.5:
            options["boosts"] = [Boost(when=self._condition(), add=0.1)]
        user = self._user()
        if user == "u0":
            options["rotation"] = timedelta(seconds=1)
        await self._client.recommend(user, **options)

    async def _search(self) -> None:
        await self._client.recommend(text=self._text(), limit=10, exact=self._chance.random() < 0.2)

    async def _write_items(self) -> None:
        numbers = self._chance.sample(range(ITEMS), ITEMS_A_WRITE + ITEMS_A_DELETE)
        await self._client.upsert_items([_item(n, self._chance.randrange(50)) for n in numbers[ITEMS_A_DELETE:]])
        await self._client.delete_items([f"i{n}" for n in numbers[:ITEMS_A_DELETE]])

    async def _stream_texts(self) -> None:
        async for _ in self._client.embed_stream([self._text() for _ in range(32)]):
            pass

    async def _stream_events(self) -> None:
        async for _ in self._client.update_user_stream([UserUpdate(self._user(), self._events()) for _ in range(8)]):
            pass

    async def _delete_user(self) -> None:
        user = self._user()
        await self._client.update_user(user, self._events())
        await self._client.delete_user(user)

    async def _read(self) -> None:
        await self._client.get_server_info()
        async for _ in self._client.list_items():
            if self._chance.random() < 0.01:
                break

    async def _connect(self) -> None:
        async with AsyncClient(self._address, timeout_s=60) as client:
            await client.recommend(self._user(), limit=3)

    async def _cancel(self) -> None:
        call = self._chance.choice((self._embed, self._recommend, self._stream_texts, self._stream_events))
        task = asyncio.ensure_future(call())
        await asyncio.wait([task], timeout=self._chance.choice((0.0, 0.001, 0.003)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(CANCEL_PAUSE_S)

    def _user(self) -> str:
        return f"u{self._chance.randrange(USERS)}"

    def _events(self) -> list[Event]:
        number = self._chance.randrange(EVENT_IDS)
        item = Event(event_id=f"e{number}", item_id=f"i{self._chance.randrange(ITEMS)}")
        return [item, Event(event_id=f"t{number}", text=self._text())]

    def _text(self) -> str:
        return f"a story of {self._chance.randrange(TEXTS)} nights"

    def _condition(self) -> Condition:
        return Condition(attribute="genre", any_of=StringSet(values=[self._chance.choice(GENRES)]))


def _item(number: int, version: int) -> Item:
    item = Item(item_id=f"i{number}", title=f"title {number} of {version}")
    item.attributes["genre"].text = GENRES[number % len(GENRES)]
    item.attributes["year"].number = 1950 + number % 70
    return item


def plot(result: Result) -> Any:
    """Return a figure of what the process held over time, from the first sample on."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    minutes = [sample["time_s"] / 60 for sample in result["samples"]]
    kinds = [("resident_bytes", "MB in memory", 1e-6), ("descriptors", "descriptors", 1), ("tasks", "asyncio tasks", 1)]
    for axes, (kind, label, scale) in zip(figure.subplots(len(kinds), 1, sharex=True), kinds, strict=True):
        axes.plot(minutes, [scale * sample[kind] for sample in result["samples"]])
        axes.set(ylabel=label, ylim=(0, None))
        axes.axvline(result["warm_up_s"] / 60, color="gray", linestyle="--")
        axes.grid(alpha=0.3)
    axes.set(xlabel="minutes; what comes before the dashed line does not count")
    return figure
