"""python -m benchmarks NAME... --json OUT: measure, print, keep."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import embed_beside_bulk, embed_cost, smoke
from benchmarks.environment import environment

BENCHMARKS: dict[str, Callable[[bool], Mapping[str, Any]]] = {
    "smoke": smoke.run,
    "embed_cost": embed_cost.run,
    "embed_beside_bulk": embed_beside_bulk.run,
}


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


def _table(name: str, result: Mapping[str, Any]) -> Table:
    """Return the calls of a result, and the ratios that it is about."""
    ((ratio_name, ratios),) = ((key, value) for key, value in result.items() if key.endswith("ratio_to_limit"))
    table = Table(title=f"{name}: {result['model']}")
    for column in ("call", "p50 ms", "p99 ms", "CPU ms", ratio_name.replace("_", " ")):
        table.add_column(column, justify="left" if column == "call" else "right")
    for call, figures in result["calls"].items():
        ratio = ratios.get(call)
        table.add_row(call, *(f"{figures[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms")), f"{ratio or ''}")
    return table


typer.run(main)
