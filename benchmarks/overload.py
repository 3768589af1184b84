"""overload: open-loop loads of .5, 1, 2 and 10 times what a server can do; what it serves, refuses, and how fast.

Embed of single real texts, which no cache knows, over plain gRPC without retries: the encoder is what there is too
little of. The encoder has one core; the other has the server's event loop, the client and what else the machine does.
Capacity is measured first in the same run, with calls in flight all the time.
"""

import itertools
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np
import uvloop
from rich.table import Table

from benchmarks.encoder.sample import draw_sample
from benchmarks.open_loop import Call, Outcomes, offer, saturate
from benchmarks.served import SHARED_DATA, Served, served
from recwire.v1.recommender_service_pb2 import EmbedRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

LOADS = (0.5, 1.0, 2.0, 10.0)
IN_FLIGHT = 4  # of a measurement of capacity: some wait while one runs, and none is refused
TIMEOUT_S = 1.0
WARM_UP_S = 3.0  # in which a queue becomes one that stands
SAMPLE_SIZE = 600
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


class Result(TypedDict):
    """What is kept, ready for JSON."""

    data: str
    capacity: float
    stages: list[Stage]
    goodput_at_10x_of_peak: float
    p99_at_10x_of_half: float
    seed: int


def run(quick: bool) -> Result:
    """Return the result. quick: a minute instead of four."""
    duration_s = 8.0 if quick else 40.0
    flags = ["--encoder-thread-count", "1", "--embedding-cache-bytes", "0"]
    with TemporaryDirectory(prefix="recwire-overload-") as folder, served(Path(folder) / "data", *flags) as server:
        return uvloop.run(_measure(server, duration_s))


async def _measure(server: Served, duration_s: float) -> Result:
    sample = draw_sample(SHARED_DATA, SAMPLE_SIZE)
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = _embed(channel, list(sample.texts))
        capacity = await saturate(call, IN_FLIGHT, WARM_UP_S, duration_s)
        stages = [await _stage(server, call, load, load * capacity, duration_s) for load in LOADS]
    peak = max(stage["goodput"] for stage in stages)
    return {
        "data": sample.data,
        "capacity": round(capacity, 1),
        "stages": stages,
        "goodput_at_10x_of_peak": round(stages[-1]["goodput"] / peak, 3),
        "p99_at_10x_of_half": round(stages[-1]["admitted_p99_ms"] / stages[0]["admitted_p99_ms"], 2),
        "seed": SEED,
    }


def _embed(channel: grpc.aio.Channel, texts: list[str]) -> Call:
    """Return what embeds a text that was not embedded before."""
    embed = RecommenderServiceStub(channel).Embed
    random.Random(SEED).shuffle(texts)
    numbered: Any = zip(itertools.count(), itertools.cycle(texts))

    async def call() -> object:
        number, text = next(numbered)
        return await embed(EmbedRequest(texts=[f"{text} {number}"]), timeout=TIMEOUT_S)

    return call


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


def plot(result: Result, path: Path) -> None:
    """Draw what was served and refused of what was offered, and how fast."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, times = figure.subplots(1, 2)
    stages = result["stages"]
    loads = [stage["load"] for stage in stages]
    rates.plot(loads, [stage["offered"] for stage in stages], "--", color="gray", label="offered")
    rates.plot(loads, [stage["goodput"] for stage in stages], "o-", label="served")
    rates.set(ylabel="calls a second", yscale="log", ylim=(10, None))
    for percent, style in (("50", "o-"), ("99", "s--")):
        for kind, color in (("admitted", "tab:blue"), ("refused", "tab:red")):
            shown = [stage for stage in stages if stage[f"{kind}_p{percent}_ms"] is not None]
            values = [stage[f"{kind}_p{percent}_ms"] for stage in shown]
            times.plot([stage["load"] for stage in shown], values, style, color=color, label=f"{kind}, p{percent}")
    times.set(ylabel="milliseconds", yscale="log")
    for axes in (rates, times):
        axes.set(xlabel="load, of capacity", xscale="log", xticks=loads, xticklabels=[f"{load:g}x" for load in loads])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle(f"Embed under open load; capacity {result['capacity']:g} calls/s")
    figure.savefig(path, metadata={"Date": None})


def table(result: Result) -> Table:
    """Return the figures for people."""
    title = f"overload: capacity {result['capacity']:g} calls/s; {result['data']}"
    shown = Table(
        "load", "offered /s", "served /s", "codes", "admitted p50 / p99 ms", "refused p50 / p99 ms", "MB", title=title
    )
    for stage in result["stages"]:
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
        f"goodput at 10x: {result['goodput_at_10x_of_peak']:.0%} of the peak;"
        f" p99 of what is admitted at 10x: {result['p99_at_10x_of_half']:g}x of that at .5x"
    )
    return shown
