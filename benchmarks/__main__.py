"""python -m benchmarks NAME... --json OUT: measure, print, keep; and what is done with results that are kept."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer.core import TyperGroup

from benchmarks import figure_page, report, suite
from benchmarks.environment import environment
from benchmarks.result_file import ResultFileError, read_result_file, write_result_file
from benchmarks.suite import BENCHMARKS, QUICK_SET
from recwire_server.encoder.device import Device

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


class _Commands(TyperGroup):
    """The commands; what begins with none of them names benchmarks to run."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        named = not args or args[0] == "--help" or args[0] in self.commands
        return super().parse_args(ctx, args if named else ["run", *args])


app = typer.Typer(
    cls=_Commands, help="Benchmarks: NAME... --json OUT runs some.", no_args_is_help=True, add_completion=False
)


@app.command()
def run(
    json_file: Annotated[Path, typer.Option("--json", metavar="OUT", help="Where the result goes.")],
    names: Annotated[list[str] | None, typer.Argument(help="Which; none: with --quick, the quick set.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer calls.")] = False,
    device: Annotated[Device, typer.Option("--device", help="What runs the model.")] = Device.CPU,
) -> None:
    """Run benchmarks one after the other; print their figures and keep them as JSON with what they were run on."""
    if not names and not quick:
        raise typer.BadParameter(f"name some, or add --quick for the quick set; there are: {', '.join(BENCHMARKS)}")
    chosen = names or QUICK_SET
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    if device is not Device.CPU and not all(map(suite.takes_device, chosen)):
        able = ", ".join(filter(suite.takes_device, BENCHMARKS)) or "none"
        raise typer.BadParameter(f"--device {device}: not all of these run there; there are: {able}")
    stamp = environment()  # of what is measured, not of what is there once it has been
    results, durations_s = {}, {}
    for name in chosen:
        begin_s = time.perf_counter()
        results[name] = suite.run(name, quick, device)
        durations_s[name] = round(time.perf_counter() - begin_s, 1)
        write_result_file(json_file, stamp, results, durations_s)  # also of those before one that fails
    for name, result in results.items():
        Console().print(BENCHMARKS[name].table(result))


@app.command("list")
def list_benchmarks() -> None:
    """Say which benchmarks there are: in the quick set, with a device to choose, how long the committed run took."""
    minutes = _committed_minutes()
    for name in BENCHMARKS:
        quick = "quick" if name in QUICK_SET else ""
        device = "--device" if suite.takes_device(name) else ""
        typer.echo(f"{name:<18} {quick:<5} {device:<8} {minutes.get(name, '?'):>5} min  {suite.summary(name)}")


@app.command("report")
def write_report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the JSON files are.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where it goes; default: the same.")] = None,
) -> None:
    """Make report.md, and plots as SVG and PNG, from the JSON files of a folder."""
    try:
        made = report.make_report(folder, BENCHMARKS, draws=report.can_draw())
    except ResultFileError as error:
        raise typer.BadParameter(str(error)) from error
    for path in made.write(out or folder):
        typer.echo(path)
    for reason in made.left_out:
        typer.echo(f"left out: {reason}", err=True)
    if not report.can_draw():
        typer.echo(f"no plots: matplotlib is not installed; {report.PLOTS_NEED}", err=True)


@app.command()
def figures(
    write: Annotated[bool, typer.Option("--write", help="Put in what the results say.")] = False,
) -> None:
    """Check the figures of the documentation against the results that they are linked to."""
    faults = [fault for page in figure_page.pages(ROOT) for fault in figure_page.check_page(page, write=write)]
    for fault in faults:
        typer.echo(fault, err=True)
    raise typer.Exit(1 if faults else 0)


def _committed_minutes() -> dict[str, str]:
    """Return how long a benchmark took when the committed result was made, of those that tell."""
    files = [read_result_file(path) for path in sorted(RESULTS.glob("*.json"))]
    return {name: f"{took_s / 60:.1f}" for file in files for name, took_s in file.durations_s.items()}


if __name__ == "__main__":
    app()
