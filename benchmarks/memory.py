"""memory: what an item and a user take, of memory and of disk, beside the bytes of a vector.

The memory is that of a server's process, as Linux counts it (smaps_rollup): resident, of that its own (anonymous) and
mapped (files: vectors, the model, libraries). Items have vectors of their own: each count in a server of its own, once
they are in and no index is being built (`imported`), and in one that began anew with the same data and has answered
(`restarted`). Users have events on items, in a server that has answered each and holds all of them. What one
takes is the slope of a line through the counts, by least squares; r2 says how straight it is.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np
from rich.console import Group
from rich.table import Table

from benchmarks.served import Served, default_encoder, served, settled
from benchmarks.stress import catalogue
from recwire import Client, Event, Item, UserUpdate, to_bytes
from recwire_server.vector import Vectors

SEED = 7
MAX_EVENTS_A_CALL = 256
KINDS = ("resident_bytes", "own_bytes", "mapped_bytes", "disk_bytes")
QUIET = ("--log-level", "warning")


@dataclass(frozen=True)
class Size:
    """Counts: of items; of users, and of the events of each; and of the items that these are on."""

    items: tuple[int, ...] = (0, 10_000, 50_000, 100_000)
    users: tuple[int, ...] = (0, 2_000, 5_000, 10_000)
    events_a_user: tuple[int, ...] = (1, 10, 100)
    items_of_events: int = 1_000


QUICK = Size(items=(0, 2_000, 5_000, 10_000), users=(0, 500, 1_000))


@dataclass(frozen=True)
class Sample:
    """What a server takes that has so many: bytes of memory, and of its data directory."""

    count: int
    resident_bytes: int
    own_bytes: int
    mapped_bytes: int
    disk_bytes: int


class Line(TypedDict):
    """Samples, as `Sample` has them; by kind of bytes the slope, which is what one takes, and how straight it is."""

    samples: list[dict[str, int]]
    each: dict[str, float]
    r2: dict[str, float]


class Result(TypedDict):
    """What is kept, ready for JSON. items: by state of the server; users: by events of each."""

    model: str
    vector_bytes: int
    seed: int
    items: dict[str, Line]
    users: dict[str, Line]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer items and users."""
    return measure_memory(QUICK if quick else Size())


def measure_memory(size: Size) -> Result:
    """Return the result for so many."""
    encoder = default_encoder()
    vectors = catalogue(max(*size.items, size.items_of_events), encoder.dim)
    states: dict[str, list[Sample]] = {"imported": [], "restarted": []}
    for count in size.items:
        for state, sample in _item_samples(vectors[:count]):
            states[state].append(sample)
    users = {
        str(count): _user_samples(vectors[: size.items_of_events], size.users, count) for count in size.events_a_user
    }
    return {
        "model": encoder.model.name,
        "vector_bytes": encoder.dim * vectors.itemsize,
        "seed": SEED,
        "items": {state: fitted(samples) for state, samples in states.items()},
        "users": {events: fitted(samples) for events, samples in users.items()},
    }


def table(result: Result) -> Group:
    """Return the figures for people."""
    items = {f"an item, {state}": line for state, line in result["items"].items()}
    users = {f"a user, events: {events}": line for events, line in result["users"].items()}
    each = Table("what", title=f"memory: bytes; a vector alone has {result['vector_bytes']:,}")
    for kind in KINDS:
        each.add_column(kind.removesuffix("_bytes"), justify="right")
    each.add_column("r2 of resident", justify="right")
    for what, line in (items | users).items():
        each.add_row(what, *(f"{line['each'][kind]:,.0f}" for kind in KINDS), f"{line['r2']['resident_bytes']:.4f}")
    return Group(
        each,
        _samples_table(result["items"], "server", "items"),
        _samples_table(result["users"], "events each", "users"),
    )


def plot(result: Result) -> Any:
    """Return a figure of what a server holds, by items and by users."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    of_items, of_users = figure.subplots(1, 2)
    for state, line in result["items"].items():
        for kind, style in (("resident_bytes", "o-"), ("own_bytes", "s--")):
            of_items.plot(*_points(line, kind), style, label=f"{kind.removesuffix('_bytes')}, {state}")
    counts, _ = _points(result["items"]["imported"], "resident_bytes")
    raw = [1e-6 * result["vector_bytes"] * count for count in counts]
    of_items.plot(counts, raw, ":", color="gray", label="the vectors alone")
    for events, line in result["users"].items():
        of_users.plot(*_points(line, "resident_bytes"), "o-", label=f"events of each: {events}")
    for axes, what in ((of_items, "items"), (of_users, "users")):
        axes.set(xlabel=what, ylabel="MB in memory", ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def fitted(samples: Sequence[Sample]) -> Line:
    """Return the samples with the line through them, by least squares."""
    counts = np.array([sample.count for sample in samples])
    each, r2 = {}, {}
    for kind in KINDS:
        held = np.array([getattr(sample, kind) for sample in samples], float)
        slope, begin = np.polyfit(counts, held, 1)
        spread = float(((held - held.mean()) ** 2).sum())
        off = float(((held - slope * counts - begin) ** 2).sum())
        each[kind] = round(float(slope), 1)
        r2[kind] = round(1 - off / spread, 4) if spread else 1.0
    return {"samples": [asdict(sample) for sample in samples], "each": each, "r2": r2}


def footprint(pid: int, count: int, data_dir: Path) -> Sample:
    """Return what a process holds of memory, and its data directory of disk."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    resident, own = 1024 * kilobytes["Rss"], 1024 * kilobytes["Anonymous"]
    disk = sum(512 * path.stat().st_blocks for path in data_dir.rglob("*") if path.is_file())
    return Sample(count, resident, own, resident - own, disk)


def _item_samples(vectors: Vectors) -> Iterator[tuple[str, Sample]]:
    with TemporaryDirectory(prefix="recwire-memory-") as folder:
        data_dir, query = Path(folder), to_bytes(np.ones(vectors.shape[1], np.float32))
        for state in ("imported", "restarted"):
            with _server(data_dir) as (server, client):
                if state == "imported":
                    _import(client, vectors)
                settled(client)
                client.recommend(vector=query)
                yield state, footprint(server.process.pid, len(vectors), data_dir)


def _user_samples(vectors: Vectors, counts: Sequence[int], events_a_user: int) -> list[Sample]:
    samples = []
    with TemporaryDirectory(prefix="recwire-memory-") as folder, _server(Path(folder)) as (server, client):
        _import(client, vectors)
        settled(client)
        client.recommend("nobody", limit=1)  # what the first answer takes is no user's
        for before, count in itertools.pairwise((0, *counts)):
            for _ in client.update_user_stream(_updates(range(before, count), events_a_user, len(vectors))):
                pass
            for user in range(before, count):
                client.recommend(f"user-{user}", limit=1)  # a user is held once there was an answer
            held = client.get_server_info().memory.cached_user_count
            assert held >= count, f"{held} users of {count} are in memory"
            samples.append(footprint(server.process.pid, count, Path(folder)))
    return samples


def _import(client: Client, vectors: Vectors) -> None:
    items = (Item(item_id=str(number), vector=to_bytes(vector)) for number, vector in enumerate(vectors))
    for _ in client.import_items(items):
        pass


def _updates(users: range, events_a_user: int, item_count: int) -> Iterator[UserUpdate]:
    chance = random.Random(SEED + users.start)
    for user in users:
        for first in range(0, events_a_user, MAX_EVENTS_A_CALL):
            numbers = range(first, min(events_a_user, first + MAX_EVENTS_A_CALL))
            yield UserUpdate(f"user-{user}", [Event(item_id=str(chance.randrange(item_count))) for _ in numbers])


@contextmanager
def _server(data_dir: Path) -> Iterator[tuple[Served, Client]]:
    with served(data_dir, *QUIET) as server, Client(server.address, timeout_s=60) as client:
        yield server, client


def _samples_table(lines: Mapping[str, Line], name_of_lines: str, what: str) -> Table:
    shown = Table(name_of_lines, title=f"MB, by {what}")
    for column in (what, *(kind.removesuffix("_bytes") for kind in KINDS)):
        shown.add_column(column, justify="right")
    for name, line in lines.items():
        for sample in line["samples"]:
            shown.add_row(name, f"{sample['count']:,}", *(f"{sample[kind] / 1e6:,.0f}" for kind in KINDS))
    return shown


def _points(line: Line, kind: str) -> tuple[list[int], list[float]]:
    return [sample["count"] for sample in line["samples"]], [1e-6 * sample[kind] for sample in line["samples"]]
