"""python -m benchmarks NAME... --json OUT: measure, print, keep."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.environment import environment
from benchmarks.suite import BENCHMARKS, Device, keep, run, takes_device


def main(
    names: Annotated[list[str], typer.Argument(help=f"Which: {', '.join(BENCHMARKS)}.")],
    json_file: Annotated[Path, typer.Option("--json", metavar="OUT", help="Where the result goes.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer calls.")] = False,
    device: Annotated[Device, typer.Option("--device", help="What runs the model.")] = Device.CPU,
) -> None:
    """Run benchmarks one after the other; print their figures and keep them as JSON with what they were run on."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    if device is not Device.CPU and not all(map(takes_device, names)):
        able = ", ".join(filter(takes_device, BENCHMARKS)) or "none"
        raise typer.BadParameter(f"--device {device}: not all of these run there; there are: {able}")
    stamp = environment()  # of what is measured, not of what is there once it has been
    results = {name: run(name, quick, device) for name in names}
    keep(json_file, stamp, results)
    for name, result in results.items():
        Console().print(BENCHMARKS[name].table(result))


typer.run(main)
