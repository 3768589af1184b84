"""stress: readers ask while writers replace and delete much of the catalogue, and generations are swapped in.

Four readers call Recommend for stored users, one call at a time each: first alone (quiet), then beside two writers, who
replace and delete 30 % of the catalogue and more at an even pace, so that at least one generation is built. The writers
see to it that what they deleted is in no answer, and what they wrote is in the next. Meanwhile, and in the quiet time
too, a checker compares searches with exact ones. The client's processes share the machine with the server.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import numpy as np
from rich.table import Table

from benchmarks.served import served, settled
from recwire import AsyncClient, Client, Event, Item, SeenPolicy, to_bytes

SEED = 7
READERS, WRITERS = 4, 2
USERS, EVENTS_A_USER = 100, 30
LATENT_DIMS, TOPICS = 24, 50
ITEMS_A_WRITE, ITEMS_A_DELETE = 32, 16
CHANGED_SHARE = 0.4  # of the catalogue's items, replaced or deleted
QUIET_SHARE = 0.25  # of the whole time
CHECKS_A_SECOND = 4
K = 10


@dataclass(frozen=True)
class Size:
    """How much: items, and seconds of the quiet and the busy time together."""

    items: int
    duration_s: float


class Result(TypedDict):
    """What is kept, ready for JSON. Times are those of Recommend, in milliseconds."""

    items: int
    duration_s: float
    changed_items: int
    generations_built: int
    method: str
    quiet_calls: int
    busy_calls: int
    quiet_p50_ms: float
    quiet_p99_ms: float
    busy_p50_ms: float
    busy_p99_ms: float
    p99_ratio: float
    recall: float
    checked_searches: int
    live_recall: float
    errors: list[str]
    seed: int


def run(quick: bool) -> Result:
    """Return the result. quick: a minute instead of ten."""
    size = Size(20_000, 60) if quick else Size(50_000, 600)
    with TemporaryDirectory(prefix="recwire-stress-") as folder, served(Path(folder) / "data") as server:
        return stress(server.address, size)


def stress(address: str, size: Size) -> Result:
    """Fill an empty server, and read from it and write to it at the same time."""
    with Client(address, timeout_s=60) as client:
        vectors = catalogue(size.items, client.get_server_info().dimension)
        fill(client, vectors)
        before = settled(client)
        quiet_s, busy_s = QUIET_SHARE * size.duration_s, (1 - QUIET_SHARE) * size.duration_s
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            quiet = processes.submit(read, address, quiet_s).result()
            reading = processes.submit(read, address, busy_s)
            writing = processes.submit(write, address, size.items, busy_s)
            busy, written = reading.result(), writing.result()
        after = client.get_server_info()
    quiet_ms, busy_ms = 1e3 * np.array(quiet.times_s), 1e3 * np.array(busy.times_s)
    p99 = [round(float(np.percentile(times, 99)), 3) for times in (quiet_ms, busy_ms)]
    return {
        "items": size.items,
        "duration_s": size.duration_s,
        "changed_items": written.changed_count,
        "generations_built": after.index_generation - before.index_generation,
        "method": after.index.method,
        "quiet_calls": len(quiet_ms),
        "busy_calls": len(busy_ms),
        "quiet_p50_ms": round(float(np.median(quiet_ms)), 3),
        "quiet_p99_ms": p99[0],
        "busy_p50_ms": round(float(np.median(busy_ms)), 3),
        "busy_p99_ms": p99[1],
        "p99_ratio": round(p99[1] / p99[0], 2),
        "recall": round(float(np.mean(busy.recalls)), 4),
        "checked_searches": len(busy.recalls),
        "live_recall": round(after.index.live_recall, 4),
        "errors": [*quiet.errors, *busy.errors, *written.errors],
        "seed": SEED,
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    shown = Table("figure", "value", title="stress: Recommend beside writes and rebuilds")
    for name, value in result.items():
        shown.add_row(name.replace("_", " "), str(value))
    return shown


def catalogue(count: int, dim: int) -> np.ndarray:
    """Return (count, dim) vectors around topics, which differ in LATENT_DIMS dimensions, with noise in all."""
    chance = np.random.default_rng(SEED)
    topics, spread = chance.normal(size=(TOPICS, LATENT_DIMS)), chance.normal(size=(LATENT_DIMS, dim))
    latent = topics[chance.integers(TOPICS, size=count)] + 0.8 * chance.normal(size=(count, LATENT_DIMS))
    vectors = latent @ spread + 0.3 * chance.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Read:
    """What the readers saw. times_s: of each call; recalls: of each search that was checked."""

    times_s: list[float]
    recalls: list[float]
    errors: list[str]


@dataclass
class Written:
    """What the writers did, and what was not as it should be."""

    changed_count: int
    errors: list[str]


def read(address: str, duration_s: float) -> Read:
    """Call Recommend for so long, and compare some searches with exact ones."""
    return asyncio.run(_read(address, duration_s))


def write(address: str, item_count: int, duration_s: float) -> Written:
    """Replace and delete items for so long, and look whether the next answer knows."""
    return asyncio.run(_write(address, item_count, duration_s))


async def _read(address: str, duration_s: float) -> Read:
    seen = Read([], [], [])
    end_s = time.monotonic() + duration_s

    async def ask(client: AsyncClient, seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end_s:
            begin_s = time.perf_counter()
            try:
                answer = await client.recommend(f"u{chance.randrange(USERS)}", limit=K)
                if len(answer.recommendations) != K:
                    seen.errors.append(f"{len(answer.recommendations)} recommendations of {K}")
            except Exception as error:
                seen.errors.append(repr(error))
            seen.times_s.append(time.perf_counter() - begin_s)

    async def check(client: AsyncClient) -> None:
        chance = random.Random(SEED)
        while time.monotonic() < end_s:
            await asyncio.sleep(1 / CHECKS_A_SECOND)
            user_id, include = f"u{chance.randrange(USERS)}", SeenPolicy.SEEN_POLICY_INCLUDE
            one, other = await asyncio.gather(
                *(client.recommend(user_id, limit=K, seen=include, exact=exact) for exact in (False, True))
            )
            least = other.recommendations[-1].score - 1e-6
            seen.recalls.append(sum(found.score >= least for found in one.recommendations) / K)

    async with AsyncClient(address, timeout_s=60) as client:
        await asyncio.gather(check(client), *(ask(client, seed) for seed in range(READERS)))
    return seen


async def _write(address: str, item_count: int, duration_s: float) -> Written:
    written = Written(0, [])
    changes = int(CHANGED_SHARE * item_count / WRITERS / (ITEMS_A_WRITE + ITEMS_A_DELETE)) + 1
    begin_s = time.monotonic()

    async def change(client: AsyncClient, writer: int) -> None:
        chance = np.random.default_rng(writer)
        info = await client.get_server_info()
        own = np.arange(writer, item_count, WRITERS)
        fresh = catalogue(2 * changes * ITEMS_A_WRITE, info.dimension)[writer::WRITERS]
        for number in range(changes):
            await asyncio.sleep(begin_s + number * duration_s / changes - time.monotonic())
            vectors = fresh[number * ITEMS_A_WRITE :][:ITEMS_A_WRITE]
            chosen = chance.choice(own, ITEMS_A_WRITE + ITEMS_A_DELETE, replace=False).tolist()
            put, gone = chosen[:ITEMS_A_WRITE], chosen[ITEMS_A_WRITE:]
            try:
                await client.upsert_items(list(_items(put, vectors)))
                await client.delete_items([f"i{n}" for n in gone])
                answer = await client.recommend(vector=to_bytes(vectors[0]), limit=100)
            except Exception as error:
                written.errors.append(repr(error))
                continue
            found = [one.item_id for one in answer.recommendations]
            if f"i{put[0]}" not in found:
                written.errors.append(f"i{put[0]} was written, but is not in the next answer")
            if late := {f"i{n}" for n in gone} & set(found):
                written.errors.append(f"{late} were deleted, but are in the next answer")
            written.changed_count += len(put) + len(gone)

    async with AsyncClient(address, timeout_s=60) as client:
        await asyncio.gather(*(change(client, writer) for writer in range(WRITERS)))
    return written


def _items(numbers: Sequence[int], vectors: np.ndarray) -> Iterator[Item]:
    for number, vector in zip(numbers, vectors, strict=True):
        yield Item(item_id=f"i{number}", vector=to_bytes(vector))


def fill(client: Client, vectors: np.ndarray) -> None:
    """Import items with these vectors, and users with some events each."""
    for _ in client.import_items(_items(range(len(vectors)), vectors)):
        pass
    chance = random.Random(SEED)
    for user in range(USERS):
        events = [Event(item_id=f"i{chance.randrange(len(vectors))}") for _ in range(EVENTS_A_USER)]
        client.update_user(f"u{user}", events)
