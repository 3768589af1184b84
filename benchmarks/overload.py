"""overload: open-loop loads of .5, 1, 2 and 10 times what a server can do; what it serves, refuses, and how fast.

Two kinds of calls, each over plain gRPC without retries, against a server of its own:

- embed: single real texts, which no cache knows; what there is too little of is the encoder, which has one core.
- search: Recommend with all of 50,000 items scored; what there is too little of is the event loop.

The other core has the client, and what else the machine does. Capacity is measured first in the same run, with calls in
flight all the time.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from rich.console import Group
from rich.table import Table

from benchmarks.encoder.sample import draw_sample
from benchmarks.served import SHARED_DATA, Served, served, settled
from benchmarks.stress import catalogue, fill
from recwire import Client, RecommendOptions, to_bytes
from recwire_server.load.generator import LoadGenerator
from recwire_server.load.schedule import ClosedLoad, OpenLoad
from recwire_server.load.worker import Target
from recwire_server.load.workload import Call, Workload

LOADS = (0.5, 1.0, 2.0, 10.0)
IN_FLIGHT = 4  # of a measurement of capacity: some wait while one runs, and none is refused
TIMEOUT_S = 1.0
WARM_UP_S = 3.0  # in which a queue becomes one that stands
SAMPLE_SIZE = 600
ITEMS, ASKED_EVERY = 50_000, 50  # every 50th vector is asked for
SEED = 6


class Stage(TypedDict):
    """One load, in milliseconds and calls a second. admitted: what was not refused; those too that gave up."""

    load: float
    offered: float
    goodput: float
    codes: dict[str, int]
    admitted_p50_ms: float
    admitted_p99_ms: float
    refused_p50_ms: float | None
    refused_p99_ms: float | None
    server_cpu_share: float
    resident_mb: float


class Loaded(TypedDict):
    """What became of one kind of calls."""

    data: str
    capacity: float
    stages: list[Stage]
    goodput_at_10x_of_peak: float
    p99_at_10x_of_half: float


class Result(TypedDict):
    """What is kept, ready for JSON."""

    embed: Loaded
    search: Loaded
    seed: int


def run(quick: bool) -> Result:
    """Return the result. quick: two minutes instead of eight."""
    duration_s = 8.0 if quick else 40.0
    flags = ["--encoder-thread-count", "1", "--embedding-cache-bytes", "0"]
    with TemporaryDirectory(prefix="recwire-overload-") as folder, served(Path(folder) / "data", *flags) as server:
        sample = draw_sample(SHARED_DATA, SAMPLE_SIZE)
        embed = _measure(server, sample.data, Workload(Call.EMBED, SEED, texts=sample.texts), duration_s)
    with TemporaryDirectory(prefix="recwire-overload-") as folder, served(Path(folder) / "data") as server:
        with Client(server.address, timeout_s=60) as client:
            vectors = catalogue(ITEMS, client.get_server_info().dimension)
            fill(client, vectors)
            settled(client)
        near, exact = [to_bytes(vector) for vector in vectors[::ASKED_EVERY]], RecommendOptions(exact=True)
        searches = Workload(Call.RECOMMEND, SEED, vectors=near, options=exact)
        search = _measure(server, f"{ITEMS:,} made vectors", searches, duration_s)
    return {"embed": embed, "search": search, "seed": SEED}


def _measure(server: Served, data: str, workload: Workload, duration_s: float) -> Loaded:
    with LoadGenerator(Target(server.address), worker_count=1) as generator:
        full = generator.run(workload, ClosedLoad(IN_FLIGHT, duration_s, WARM_UP_S, TIMEOUT_S))
        capacity = full.served / duration_s
        loads = [OpenLoad(load * capacity, duration_s, WARM_UP_S, TIMEOUT_S) for load in LOADS]
        stages = [
            _stage(server, generator, workload, load, open_load) for load, open_load in zip(LOADS, loads, strict=True)
        ]
    peak = max(stage["goodput"] for stage in stages)
    return {
        "data": data,
        "capacity": round(capacity, 1),
        "stages": stages,
        "goodput_at_10x_of_peak": round(stages[-1]["goodput"] / peak, 3),
        "p99_at_10x_of_half": round(stages[-1]["admitted_p99_ms"] / stages[0]["admitted_p99_ms"], 2),
    }


def _stage(server: Served, generator: LoadGenerator, workload: Workload, load: float, open_load: OpenLoad) -> Stage:
    cpu_s = server.cpu_s()
    outcomes = generator.run(workload, open_load)
    cpu_s = server.cpu_s() - cpu_s
    resident = server.process.memory_info().rss
    return {
        "load": load,
        "offered": round(open_load.rate, 1),
        "goodput": round(outcomes.served / open_load.duration_s, 1),
        "codes": dict(outcomes.codes),
        "admitted_p50_ms": outcomes.latency.percentile_ms(50),
        "admitted_p99_ms": outcomes.latency.percentile_ms(99),
        "refused_p50_ms": outcomes.refusal.percentile_ms(50),
        "refused_p99_ms": outcomes.refusal.percentile_ms(99),
        "server_cpu_share": round(cpu_s / (open_load.warm_up_s + open_load.duration_s), 2),
        "resident_mb": round(resident / 1e6, 1),
    }


def plot(result: Result) -> Any:
    """Return a figure of what was served of what was offered, and how fast it was served or refused."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    for row, (kind, loaded) in zip(figure.subplots(2, 2), _kinds(result), strict=True):
        _draw(kind, loaded, *row)
    return figure


def _draw(kind: str, loaded: Loaded, rates: Any, times: Any) -> None:
    stages: Any = loaded["stages"]
    loads = [stage["load"] for stage in stages]
    rates.plot(loads, [stage["offered"] for stage in stages], "--", color="gray", label="offered")
    rates.plot(loads, [stage["goodput"] for stage in stages], "o-", label="served")
    rates.set(ylabel="calls a second", yscale="log", ylim=(1, None))
    for percent, style in (("50", "o-"), ("99", "s--")):
        for end, color in (("admitted", "tab:blue"), ("refused", "tab:red")):
            points = [(stage["load"], stage[f"{end}_p{percent}_ms"]) for stage in stages]
            shown = [point for point in points if point[1] is not None]
            times.plot(*zip(*shown, strict=True), style, color=color, label=f"{end}, p{percent}")
    times.set(ylabel="milliseconds", yscale="log")
    for axes in (rates, times):
        axes.set(title=f"{kind}, capacity {loaded['capacity']:g} calls/s", xlabel="load, of capacity", xscale="log")
        axes.set(xticks=loads, xticklabels=[f"{load:g}x" for load in loads])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")


def table(result: Result) -> Group:
    """Return the figures for people."""
    return Group(*(_table(kind, loaded) for kind, loaded in _kinds(result)))


def _kinds(result: Result) -> list[tuple[str, Loaded]]:
    return [("embed", result["embed"]), ("search", result["search"])]


def _table(kind: str, loaded: Loaded) -> Table:
    title = f"{kind}: capacity {loaded['capacity']:g} calls/s; {loaded['data']}"
    columns = ("load", "offered /s", "served /s", "codes", "admitted p50 / p99 ms", "refused p50 / p99 ms", "MB")
    shown = Table(*columns, title=title)
    for stage in loaded["stages"]:
        shown.add_row(
            f"{stage['load']:g}x",
            f"{stage['offered']:g}",
            f"{stage['goodput']:g}",
            ", ".join(f"{code} {count:,}" for code, count in stage["codes"].items()),
            f"{stage['admitted_p50_ms']} / {stage['admitted_p99_ms']}",
            f"{stage['refused_p50_ms']} / {stage['refused_p99_ms']}",
            f"{stage['resident_mb']:g}",
        )
    shown.caption = (
        f"goodput at 10x: {loaded['goodput_at_10x_of_peak']:.0%} of the peak;"
        f" p99 of what is admitted at 10x: {loaded['p99_at_10x_of_half']:g}x of that at .5x"
    )
    return shown
