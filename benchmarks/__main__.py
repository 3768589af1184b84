"""python -m benchmarks NAME... --json OUT: measure, print, keep."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import smoke
from benchmarks.environment import environment

BENCHMARKS = {"smoke": smoke.run}


def main(
    names: Annotated[list[str], typer.Argument(help=f"Which: {', '.join(BENCHMARKS)}.")],
    json_file: Annotated[Path, typer.Option("--json", metavar="OUT", help="Where the result goes.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer calls.")] = False,
) -> None:
    """Run benchmarks one after the other; print their figures and keep them as JSON with what they were run on."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    results = {name: BENCHMARKS[name](quick) for name in names}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps({"environment": environment(), "results": results}, indent=1) + "\n")
    for name, result in results.items():
        Console().print(_table(name, result))


def _table(name: str, result: smoke.Result) -> Table:
    table = Table(title=f"{name}: {result['data']}, {result['items']:,} items, {result['users']:,} users")
    for column in ("call", "p50 ms", "p99 ms", "CPU ms", "p50 / limit"):
        table.add_column(column, justify="left" if column == "call" else "right")
    for call, figures in result["calls"].items():
        ratio = result["p50_ratio_to_limit"].get(call)
        table.add_row(call, *(f"{figures[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms")), f"{ratio or ''}")
    return table


typer.run(main)
