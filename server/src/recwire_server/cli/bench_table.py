"""How the steps of `recwire-server bench` are shown."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")


def print_steps(title: str, steps: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of the steps, and what to mind about them."""
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    columns = ("load", "offered/s", "served/s", "refused", "late", "failed", *PERCENTILES, "lag p50", "lag p99")
    table = Table(title=title, caption="milliseconds; lag: how late calls were sent")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for step in steps:
        table.add_row(
            step_name(step),
            *(f"{step[name]:,.0f}" for name in ("offered_per_s", "served_per_s", "refused", "late", "failed")),
            *(_milliseconds(step["latency_ms"][name]) for name in PERCENTILES),
            *(_milliseconds(step["generator_lag_ms"][name]) for name in ("p50", "p99")),
        )
    console.print(table)
    for note in notes(steps):
        console.print(note, markup=False, soft_wrap=True)


def step_name(step: Mapping[str, Any]) -> str:
    """Return what a step is called: its load."""
    return f"{step['rate']:,g}/s" if "rate" in step else f"{step['in_flight']:,} in flight"


def notes(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a reader must know of steps, or take figures for what they are not."""
    told = []
    for step in steps:
        if step["is_generator_slow"]:
            told.append(
                f"warning: {step_name(step)}: the calls were sent late, by up to {step['generator_lag_ms']['p99']:g} ms"
                " at p99, so that the latencies are in part those of this program: give it more --workers, more cores,"
                " or a machine of its own, or offer less"
            )
        if step["failed"]:
            codes = ", ".join(f"{code} {count:,}" for code, count in sorted(step["codes"].items()) if code != "OK")
            told.append(f"{step_name(step)}: not answered: {codes}")
    return told


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
