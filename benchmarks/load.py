"""load: latency against offered load, of Recommend, UpdateUser and Embed of short texts.

A server on one core, the load generator on another. First what the server can do, by a closed loop; then open loops at
shares of it, round after round, whose latencies count from when a call was due. Last the generator itself, beside
h2load (see load_overhead).
"""

import os
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from rich.console import Group
from rich.table import Table

from benchmarks.load_overhead import Overhead, cross_check, overhead_table
from benchmarks.served import Served, pinned, served, settled
from benchmarks.stress import catalogue
from recwire import Client, Event, Item, to_bytes
from recwire.v1.admin_service_pb2 import GetServerInfoResponse
from recwire.v1.recommender_service_pb2 import EmbedRequest
from recwire_server.load.generator import LoadGenerator
from recwire_server.load.outcome import Outcomes
from recwire_server.load.schedule import ClosedLoad, OpenLoad
from recwire_server.load.worker import Target
from recwire_server.load.workload import Call, Workload

SEED = 7
LOADS = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)  # of the capacity
# What keeps the server busy: updates share commits, texts batches.
IN_FLIGHT = {Call.RECOMMEND: 16, Call.UPDATE_USER: 64, Call.EMBED: 16}
TIMEOUT_S = 1.0
PERCENTILES = ("p50", "p99", "p99.9")
SHORT_TEXTS = (  # a number is added to each
    "hiking in the mountains",
    "a film about old friends",
    "cheap running shoes",
    "how to bake bread",
    "office chair for a tall person",
)
SAMPLED_TEXTS = 100  # of which the tokens are counted


@dataclass(frozen=True)
class Size:
    """How much: what the server holds, and how long each load lasts in each round."""

    items: int
    users: int
    events_a_user: int
    rounds: int
    duration_s: float
    warm_up_s: float
    loads: Sequence[float]


FULL = Size(20_000, 1_000, 30, rounds=3, duration_s=3.5, warm_up_s=1.0, loads=LOADS)
QUICK = Size(3_000, 100, 30, rounds=1, duration_s=1.0, warm_up_s=0.5, loads=(0.25, 0.9, 1.2))


class Loaded(TypedDict):
    """One kind of calls. stages: of each load, what Outcomes.told() has, over all rounds, and beside it `load`, the
    share of the capacity; `server_cpu_share`, of the core; `rounds_p50_ms`, `rounds_p99_ms`."""

    in_flight: int
    capacity_per_s: float
    rounds_capacity_per_s: list[float]
    stages: list[dict[str, Any]]


class Result(TypedDict):
    """What is kept, ready for JSON. loaded: by call; tokens_a_text: of Embed, a mean."""

    model: str
    items: int
    users: int
    events_a_user: int
    tokens_a_text: float
    search_method: str
    server_cores: int
    timeout_s: float
    rounds: int
    seed: int
    loaded: dict[str, Loaded]
    overhead: Overhead


def run(quick: bool) -> Result:
    """Return the result. quick: one short round, three loads, and few items."""
    return measure_loads(QUICK if quick else FULL)


def measure_loads(size: Size) -> Result:
    """Return the result of a server of its own."""
    cores = sorted(os.sched_getaffinity(0))
    with TemporaryDirectory(prefix="recwire-load-") as folder, ExitStack() as exit_stack:
        with pinned(cores[0]):
            server = exit_stack.enter_context(served(Path(folder) / "data", "--encoder-thread-count", "1"))
        exit_stack.enter_context(pinned(cores[-1]))
        generator = exit_stack.enter_context(LoadGenerator(Target(server.address), worker_count=1))
        filled, tokens = _fill(server.address, size)
        workloads = _workloads(size)
        capacities = {call: _capacities(generator, workload, size) for call, workload in workloads.items()}
        stages = _stages(server, generator, workloads, {call: median(each) for call, each in capacities.items()}, size)
        same = {
            Call.EMPTY: Workload(Call.EMPTY, SEED),
            Call.RECOMMEND: replace(workloads[Call.RECOMMEND], user_ids=_user_ids(size)[:1]),
        }
        overhead = cross_check(server, generator, same, size.rounds, size.duration_s)
    return {
        "model": filled.model.name,
        "items": size.items,
        "users": size.users,
        "events_a_user": size.events_a_user,
        "tokens_a_text": tokens,
        "search_method": filled.index.method,
        "server_cores": 1,
        "timeout_s": TIMEOUT_S,
        "rounds": size.rounds,
        "seed": SEED,
        "loaded": {
            call: {
                "in_flight": IN_FLIGHT[call],
                "capacity_per_s": round(median(capacities[call]), 1),
                "rounds_capacity_per_s": capacities[call],
                "stages": stages[call],
            }
            for call in workloads
        },
        "overhead": overhead,
    }


def _fill(address: str, size: Size) -> tuple[GetServerInfoResponse, float]:
    """Import items, and users with histories; return the server's state then, and the mean tokens of a text."""
    chance = random.Random(SEED)
    with Client(address, timeout_s=60) as client:
        vectors = catalogue(size.items, client.get_server_info().dimension)
        items = (Item(item_id=f"i{number}", vector=to_bytes(vector)) for number, vector in enumerate(vectors))
        for _ in client.import_items(items):
            pass
        for user_id in _user_ids(size):
            events = [Event(item_id=f"i{chance.randrange(size.items)}") for _ in range(size.events_a_user)]
            client.update_user(user_id, events)
        filled = settled(client)
        requests = islice(_workloads(size)[Call.EMBED].requests("tokens"), SAMPLED_TEXTS)
        texts = [EmbedRequest.FromString(request.message).texts[0] for request in requests]
        return filled, round(mean(client.embed(texts).token_counts), 1)


def _user_ids(size: Size) -> list[str]:
    return [f"u{number}" for number in range(size.users)]


def _workloads(size: Size) -> dict[Call, Workload]:
    user_ids, item_ids = _user_ids(size), [f"i{number}" for number in range(size.items)]
    return {
        Call.RECOMMEND: Workload(Call.RECOMMEND, SEED, user_ids=user_ids),
        Call.UPDATE_USER: Workload(Call.UPDATE_USER, SEED, user_ids=user_ids, item_ids=item_ids),
        Call.EMBED: Workload(Call.EMBED, SEED, texts=SHORT_TEXTS),
    }


def _capacities(generator: LoadGenerator, workload: Workload, size: Size) -> list[float]:
    """Return how many calls a second are served with calls in flight all the time, of each round."""
    load = ClosedLoad(IN_FLIGHT[workload.call], size.duration_s, size.warm_up_s, TIMEOUT_S)
    return [round(generator.run(workload, load).served / size.duration_s, 1) for _ in range(size.rounds)]


def _stages(
    server: Served,
    generator: LoadGenerator,
    workloads: Mapping[Call, Workload],
    capacities: Mapping[Call, float],
    size: Size,
) -> dict[Call, list[dict[str, Any]]]:
    """Return what became of each load of each call, over rounds in which all of them take turns."""
    rounds: dict[tuple[Call, float], list[tuple[Outcomes, float]]] = {}
    for _, call, load in product(range(size.rounds), workloads, size.loads):
        open_load = OpenLoad(load * capacities[call], size.duration_s, size.warm_up_s, TIMEOUT_S)
        cpu_s = server.threads_cpu_s()
        outcomes = generator.run(workloads[call], open_load)
        share = (server.threads_cpu_s() - cpu_s) / (size.duration_s + size.warm_up_s)
        rounds.setdefault((call, load), []).append((outcomes, share))
    return {call: [_stage(load, rounds[call, load]) for load in size.loads] for call in workloads}


def _stage(load: float, rounds: Sequence[tuple[Outcomes, float]]) -> dict[str, Any]:
    total = Outcomes(sum(outcomes.duration_s for outcomes, _ in rounds))
    for outcomes, _ in rounds:
        total.merge(outcomes)
    return {
        "load": load,
        **total.told(),
        "server_cpu_share": round(median(share for _, share in rounds), 2),
        **{
            f"rounds_p{percent}_ms": [outcomes.latency.percentile_ms(percent) for outcomes, _ in rounds]
            for percent in (50, 99)
        },
    }


def table(result: Result) -> Group:
    """Return the figures for people."""
    tables = [_table(call, loaded) for call, loaded in result["loaded"].items()]
    return Group(*tables, overhead_table(result["overhead"]))


def _table(call: str, loaded: Loaded) -> Table:
    shown = Table(title=f"{call}: {loaded['capacity_per_s']:,g} calls/s with {loaded['in_flight']} in flight")
    counts, times = ("refused", "late", "failed"), ("p50", "p99", "p99.9")
    for column in ("load", "offered/s", "served/s", " / ".join(counts), f"ms, {' / '.join(times)}", "lag p99", "CPU"):
        shown.add_column(column, justify="right")
    for stage in loaded["stages"]:
        shown.add_row(
            f"{stage['load']:g}x",
            f"{stage['offered_per_s']:,.0f}",
            f"{stage['served_per_s']:,.0f}",
            " / ".join(f"{stage[name]:,}" for name in counts),
            " / ".join(f"{stage['latency_ms'][name] or 0:,.1f}" for name in times),
            f"{stage['generator_lag_ms']['p99'] or 0:,.1f}{' !' if stage['is_generator_slow'] else ''}",
            f"{stage['server_cpu_share']:.2f}",
        )
    shown.caption = "from when a call was due; lag !: the generator was late itself"
    return shown


def plot(result: Result) -> Any:
    """Return a figure of latency against offered load, and of what was served of it, a column a call."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(result["loaded"]), 7), layout="constrained")
    columns = zip(*figure.subplots(2, len(result["loaded"]), squeeze=False), strict=True)
    for (call, loaded), (latency, rate) in zip(result["loaded"].items(), columns, strict=True):
        offered = [stage["offered_per_s"] for stage in loaded["stages"]]
        for name in PERCENTILES:
            latency.plot(offered, [stage["latency_ms"][name] for stage in loaded["stages"]], "o-", label=name)
        late = [stage["generator_lag_ms"]["p99"] for stage in loaded["stages"]]
        latency.plot(offered, late, ":", color="gray", label="generator's own p99")
        latency.set(title=call, ylabel="ms from when due", yscale="log")
        rate.plot(offered, offered, "--", color="gray", label="offered")
        rate.plot(offered, [stage["served_per_s"] for stage in loaded["stages"]], "o-", label="served")
        rate.set(ylabel="calls a second", ylim=(0, None))
        for axes in (latency, rate):
            axes.axvline(loaded["capacity_per_s"], color="tab:red", alpha=0.4, label="capacity, closed loop")
            axes.set(xlabel="calls a second offered", xlim=(0, None))
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
    return figure
