"""How a result is shown: from what is kept alone."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from benchmarks.promise import promise_table
from benchmarks.recommend.comparison import Result
from benchmarks.recommend.contender import RECWIRE


def table(result: Result) -> Group:
    """Return the figures for people."""
    shown = Table("contender", "p50 ms", "p99 ms", "CPU ms", "recall@10", "by", title=_title(result))
    for name, one in result["contenders"].items():
        times = (f"{one[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms"))
        effort = f"{one['knob']} {one['effort']}" if "knob" in one else result["method"]
        shown.add_row(name, *times, f"{one['recall']:.3f}", effort)
    flight = result["in_flight"]
    times = (f"{flight[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms"))
    many = f"{RECWIRE}, {result['calls_in_flight']} in flight"
    shown.add_row(many, *times, "", f"{flight['calls_per_s']:,.0f} calls a second")
    for name, why in result["not_measured"].items():
        shown.add_row(name, "", "", "", "", f"not measured: {why}")
    return Group(shown, promise_table(result["promises"]))


def plot(result: Result) -> Any:
    """Return a figure of recall against latency: the rivals by their effort, recwire where it is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    for name, steps in result["sweeps"].items():
        axes.plot([step["recall"] for step in steps], [step["p50_ms"] for step in steps], "o-", label=name)
    recwire = result["contenders"][RECWIRE]
    axes.plot([recwire["recall"]], [recwire["p50_ms"]], "k*", markersize=14, label=RECWIRE)
    axes.axvline(result["recall_target"], color="gray", linestyle="--", linewidth=1)
    axes.set(xlabel="recall@10, seen excluded", ylabel="ms a call, p50, one at a time", yscale="log")
    axes.set(title=f"{result['items']:,} items, {result['users']} users, each server on one core", xlim=(None, 1))
    axes.legend()
    return figure


def _title(result: Mapping[str, Any]) -> str:
    return f"recommend: {result['items']:,} items, ten unseen of {result['users']} users, one core each"
