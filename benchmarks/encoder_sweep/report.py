"""How a result is shown to people: a table for each number of threads, and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table


def table(result: Mapping[str, Any]) -> Group:
    """Return the figures for people: lengths down, batches across."""
    threads = sorted({cell["threads"] for cell in result["cells"]})
    return Group(_peaks(result), *(_cells(result, count) for count in threads), *_remarks(result))


def plot(result: Mapping[str, Any]) -> Any:
    """Return a figure: texts a second against batch, above the share of the peak; a column a length, a colour a
    contender, dashed with two threads."""
    from matplotlib.figure import Figure

    lengths = sorted({cell["length"] for cell in result["cells"]})
    figure = Figure(figsize=(3 * len(lengths) + 1, 7), layout="constrained")
    rows = figure.subplots(2, len(lengths), sharex=True, sharey="row", squeeze=False)
    for rates, shares, length in zip(*rows, lengths, strict=True):
        _draw([cell for cell in result["cells"] if cell["length"] == length], rates, shares)
        rates.set(title=f"{length} tokens, {result['gflop_a_text'][str(length)]:.2g} GFLOP a text", yscale="log")
    rows[0][0].set_ylabel("texts a second")
    rows[1][0].set(ylabel="share of the measured peak", ylim=(0, None))
    figure.legend(
        *rows[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(lengths), fontsize="small"
    )
    return figure


def _draw(cells: Sequence[Mapping[str, Any]], rates: Any, shares: Any) -> None:
    names = list(dict.fromkeys(cell["contender"] for cell in cells))
    batches = sorted({cell["batch"] for cell in cells})
    for threads in sorted({cell["threads"] for cell in cells}):
        for number, name in enumerate(names):
            line = [cell for cell in cells if (cell["contender"], cell["threads"]) == (name, threads)]
            style = {"color": f"C{number}", "linestyle": "-" if threads == 1 else "--", "marker": "o", "markersize": 3}
            label = f"{name}, {_threads(threads)}"
            for axes, figure in ((rates, "texts_per_s"), (shares, "peak_share")):
                axes.plot([cell["batch"] for cell in line], [cell[figure] for cell in line], label=label, **style)
    for axes in (rates, shares):
        axes.set(xscale="log", xticks=batches, xticklabels=batches)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    shares.set(xlabel="texts in a batch")


def _peaks(result: Mapping[str, Any]) -> Table:
    shown = Table("device", "numbers", "threads", "tool", "size", "Gop/s", "rounds", title="Peak of matrix products")
    for peak in result["peaks"]:
        rounds = f"{min(peak['rounds_gops']):,.0f} to {max(peak['rounds_gops']):,.0f}"
        figures = (str(peak["threads"]), peak["tool"], str(peak["size"]), f"{peak['gops']:,.0f}", rounds)
        shown.add_row(peak["device"], peak["kind"], *figures)
    return shown


def _cells(result: Mapping[str, Any], threads: int) -> Table:
    cells = [cell for cell in result["cells"] if cell["threads"] == threads]
    batches = sorted({cell["batch"] for cell in cells})
    by_place = {(cell["contender"], cell["length"], cell["batch"]): cell for cell in cells}
    title = f"Texts a second / p50 ms / p99 ms / share of the peak: {_threads(threads)}; token ids of {result['data']}"
    shown = Table("contender", "tokens", *(f"batch {batch}" for batch in batches), title=title)
    for name, length in dict.fromkeys((cell["contender"], cell["length"]) for cell in cells):
        shown.add_row(name, str(length), *(_cell(by_place[name, length, batch]) for batch in batches))
    return shown


def _cell(cell: Mapping[str, Any]) -> str:
    times = f"{cell['p50_ms']:.1f} / {cell['p99_ms']:.1f}"
    return f"{cell['texts_per_s']:,.0f} / {times} / {cell['peak_share']:.0%}"


def _remarks(result: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{length}: {gflop:g}" for length, gflop in result["gflop_a_text"].items())
    remarks = [f"GFLOP a text by tokens: {counts}."]
    if gpu := result["gpu"]:
        held = ", ".join(f"{name} {held_mb}" for name, held_mb in gpu["held_mb"].items())
        remarks.append(f"{gpu['name']}, {gpu['memory_mb']:,} MB; MB held after the largest batch: {held}.")
    return [*remarks, *(f"Not measured: {name}: {reason}." for name, reason in result["not_measured"].items())]


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
