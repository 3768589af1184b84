"""python -m benchmarks NAME... --json OUT: measure, print, keep."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    embed_beside_bulk,
    embed_cost,
    encoder,
    overload,
    recall,
    recommend,
    restart,
    smoke,
    soak,
    start,
    stress,
    update_user,
)
from benchmarks.environment import environment

BENCHMARKS = {  # each with `run` and `table`, some with `plot`
    "smoke": smoke,
    "start": start,
    "embed_cost": embed_cost,
    "embed_beside_bulk": embed_beside_bulk,
    "encoder": encoder,
    "recommend": recommend,
    "recall": recall,
    "stress": stress,
    "soak": soak,
    "update_user": update_user,
    "restart": restart,
    "overload": overload,
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
    stamp = environment()  # of what is measured, not of what is there once it has been
    results = {name: BENCHMARKS[name].run(quick) for name in names}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps({"environment": stamp, "results": results}, indent=1) + "\n")
    for name, result in results.items():
        Console().print(BENCHMARKS[name].table(result))
        if hasattr(BENCHMARKS[name], "plot"):
            _plot(name, result, json_file.with_suffix(".svg"))


def _plot(name: str, result: object, path: Path) -> None:
    """Draw a result beside its file, where matplotlib is there (see requirements.txt)."""
    try:
        BENCHMARKS[name].plot(result, path)
    except ModuleNotFoundError as error:
        Console(stderr=True).print(f"no {path.name}: {error}")


typer.run(main)
