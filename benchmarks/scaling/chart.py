"""How a result is shown to people: a table and a plot of each part."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

FIGURES = ("p50_ms", "p99_ms", "cpu_ms")
HEADERS = ("p50 ms", "p99 ms", "CPU ms")


def table(result: Mapping[str, Any]) -> Group:
    """Return the figures for people."""
    return Group(_sizes(result), _clients(result), _history(result))


def plot(result: Mapping[str, Any]) -> Any:
    """Return a figure of Recommend by items, by clients, and by the length of the history."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    (of_sizes, of_recall), (of_clients, of_history) = figure.subplots(2, 2)
    calls = {size: one["call"] for size, one in result["sizes"].items()}
    _draw(of_sizes, calls, {"p50_ms": "p50", "p99_ms": "p99", "cpu_ms": "CPU"})
    of_sizes.set(title="Recommend", xlabel="items", ylim=(0, None))
    _draw(of_recall, result["sizes"], {"recall": "recall@10"})
    of_recall.set(title="the same users", xlabel="items", ylabel="", ylim=(min(0.9, *of_recall.get_ylim()), 1.005))
    asked = f"{result['asked_size']:,} items"
    _draw_clients(of_clients, result["clients"])
    of_clients.set(title=f"Recommend, {asked}")
    for call, color in (("recommend", "tab:blue"), ("update_user", "tab:orange")):
        of_call = {length: one[call] for length, one in result["history"].items()}
        _draw(of_history, of_call, {"p50_ms": f"{call}, p50", "cpu_ms": f"{call}, CPU"}, color)
    of_history.set(title=asked, xlabel="events of the user", ylim=(0, None))
    for axes in (of_sizes, of_recall, of_history):
        axes.legend(fontsize="small")
    return figure


def _draw(
    axes: Any, points: Mapping[str, Mapping[str, float]], lines: Mapping[str, str], color: str | None = None
) -> None:
    for (figure, label), style in zip(lines.items(), ("o-", "s--", "^:"), strict=False):
        ys = [one[figure] for one in points.values()]
        axes.plot([int(place) for place in points], ys, style, color=color, label=label)
    axes.set(xscale="log", ylabel="milliseconds")
    axes.grid(alpha=0.3)


def _draw_clients(times: Any, flights: Mapping[str, Mapping[str, float]]) -> None:
    """Draw how long calls take, and on an axis of their own how many are served."""
    counts = [int(count) for count in flights]
    _draw(times, flights, {"p50_ms": "p50", "p99_ms": "p99"})
    rates = times.twinx()
    (line,) = rates.plot(counts, [one["calls_per_s"] for one in flights.values()], "^:", color="gray")
    rates.set(ylabel="calls a second", ylim=(0, 1.1 * max(one["calls_per_s"] for one in flights.values())))
    times.set(xlabel="calls in flight", yscale="log", xticks=counts, xticklabels=counts)
    times.minorticks_off()
    times.legend([*times.get_lines(), line], ["p50", "p99", "calls a second"], fontsize="small")


def _sizes(result: Mapping[str, Any]) -> Table:
    shown = _table("items", f"scaling: Recommend by items, {result['model']}", ("method", "recall@10", *HEADERS))
    for size, one in result["sizes"].items():
        figures = (f"{one['call'][figure]:.3f}" for figure in FIGURES)
        shown.add_row(f"{int(size):,}", one["method"], f"{one['recall']:.4f}", *figures)
    shown.caption = result["made_of"]
    return shown


def _clients(result: Mapping[str, Any]) -> Table:
    title = f"Recommend by calls in flight, {result['asked_size']:,} items"
    shown = _table("in flight", title, ("calls a second", *HEADERS, "failed"))
    for count, one in result["clients"].items():
        figures = (f"{one[figure]:.3f}" for figure in FIGURES)
        shown.add_row(count, f"{one['calls_per_s']:,.0f}", *figures, str(one["failed"]))
    return shown


def _history(result: Mapping[str, Any]) -> Table:
    title = f"Recommend and UpdateUser by events of the user, {result['asked_size']:,} items"
    shown = _table("events", title, [f"{call} {header}" for call in ("Recommend", "UpdateUser") for header in HEADERS])
    for length, calls in result["history"].items():
        figures = (f"{calls[call][figure]:.3f}" for call in ("recommend", "update_user") for figure in FIGURES)
        shown.add_row(f"{int(length):,}", *figures)
    return shown


def _table(first: str, title: str, others: Any) -> Table:
    shown = Table(title=title)
    for column in (first, *others):
        shown.add_column(column, justify="right", overflow="fold")
    return shown
