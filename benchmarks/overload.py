"""overload: open-loop loads of .5, 1, 2 and 10 times what a server can do; what it serves, refuses, and how fast.

Two kinds of calls, each over plain gRPC without retries, against a server of its own:

- embed: single real texts, which no cache knows; what there is too little of is the encoder, which has one core.
- search: Recommend with all of 50,000 items scored; what there is too little of is the event loop.

The other core has the client, and what else the machine does. Capacity is measured first in the same run, with calls in
flight all the time.
"""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np
import uvloop
from rich.console import Group
from rich.table import Table

from benchmarks.encoder.sample import draw_sample
from benchmarks.open_loop import Call, Outcomes, offer, saturate
from benchmarks.served import SHARED_DATA, Served, served, settled
from benchmarks.stress import catalogue, fill
from recwire import Client, RecommendOptions, to_bytes
from recwire.v1.recommender_service_pb2 import EmbedRequest, RecommendRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

LOADS = (0.5, 1.0, 2.0, 10.0)
IN_FLIGHT = 4  # of a measurement of capacity: some wait while one runs, and none is refused
TIMEOUT_S = 1.0
WARM_UP_S = 3.0  # in which a queue becomes one that stands
SAMPLE_SIZE = 600
ITEMS = 50_000
SEED = 6


class Stage(TypedDict):
    """One load, in milliseconds and calls a second."""

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
        embed = uvloop.run(_measure(server, sample.data, _embeds(list(sample.texts)), duration_s))
    with TemporaryDirectory(prefix="recwire-overload-") as folder, served(Path(folder) / "data") as server:
        with Client(server.address, timeout_s=60) as client:
            vectors = catalogue(ITEMS, client.get_server_info().dimension)
            fill(client, vectors)
            settled(client)
        search = uvloop.run(_measure(server, f"{ITEMS:,} made vectors", _searches(vectors), duration_s))
    return {"embed": embed, "search": search, "seed": SEED}


async def _measure(server: Served, data: str, calls: Callable[[grpc.aio.Channel], Call], duration_s: float) -> Loaded:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = calls(channel)
        capacity = await saturate(call, IN_FLIGHT, WARM_UP_S, duration_s)
        stages = [await _stage(server, call, load, load * capacity, duration_s) for load in LOADS]
    peak = max(stage["goodput"] for stage in stages)
    return {
        "data": data,
        "capacity": round(capacity, 1),
        "stages": stages,
        "goodput_at_10x_of_peak": round(stages[-1]["goodput"] / peak, 3),
        "p99_at_10x_of_half": round(stages[-1]["admitted_p99_ms"] / stages[0]["admitted_p99_ms"], 2),
    }


def _embeds(texts: list[str]) -> Callable[[grpc.aio.Channel], Call]:
    """Return what makes, of a channel, what embeds a text that was not embedded before."""
    random.Random(SEED).shuffle(texts)
    numbered: Any = zip(itertools.count(), itertools.cycle(texts))

    def calls(channel: grpc.aio.Channel) -> Call:
        embed = RecommenderServiceStub(channel).Embed

        async def call() -> object:
            number, text = next(numbered)
            return await embed(EmbedRequest(texts=[f"{text} {number}"]), timeout=TIMEOUT_S)

        return call

    return calls


def _searches(vectors: np.ndarray) -> Callable[[grpc.aio.Channel], Call]:
    """Return what makes, of a channel, what asks for the items nearest to one, all of them scored."""
    chance, options = random.Random(SEED), RecommendOptions(exact=True)

    def calls(channel: grpc.aio.Channel) -> Call:
        recommend = RecommenderServiceStub(channel).Recommend

        async def call() -> object:
            vector = to_bytes(vectors[chance.randrange(len(vectors))])
            return await recommend(RecommendRequest(vector=vector, options=options), timeout=TIMEOUT_S)

        return call

    return calls


async def _stage(server: Served, call: Call, load: float, rate: float, duration_s: float) -> Stage:
    cpu_s = server.cpu_s()
    outcomes = await offer(call, rate, WARM_UP_S, duration_s, SEED)
    cpu_s = server.cpu_s() - cpu_s
    resident = server.process.memory_info().rss
    return {
        "load": load,
        "offered": round(rate, 1),
        "goodput": round(outcomes.counts["OK"] / duration_s, 1),
        "codes": dict(outcomes.counts),
        "admitted_p50_ms": _percentile(outcomes, "OK", 50),
        "admitted_p99_ms": _percentile(outcomes, "OK", 99),
        "refused_p50_ms": _percentile(outcomes, "RESOURCE_EXHAUSTED", 50),
        "refused_p99_ms": _percentile(outcomes, "RESOURCE_EXHAUSTED", 99),
        "server_cpu_share": round(cpu_s / (WARM_UP_S + duration_s), 2),
        "resident_mb": round(resident / 1e6, 1),
    }


def _percentile(outcomes: Outcomes, code: str, percent: float) -> Any:
    taken_s = outcomes.seconds.get(code)
    return None if not taken_s else round(1e3 * float(np.percentile(taken_s, percent)), 2)


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
