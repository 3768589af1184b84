"""How a result is shown to people: quality, speed, promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from benchmarks.encoder.speed import KINDS

WAYS = {"encode": "texts in, as a user calls it", "run": "token ids in, the model alone"}


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn; the first column is words, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def table(result: Mapping[str, Any]) -> Group:
    """Return the figures for people."""
    return Group(*map(_drawn, sheets(result)), *remarks(result))


def sheets(result: Mapping[str, Any]) -> list[Sheet]:
    """Return the tables."""
    if "gpu" in result:
        return [_quality(result), _speed_on_gpu(result)]
    return [_quality(result), *(_speed(result, way) for way in WAYS), _targets(result)]


def remarks(result: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the figures has to know, and what was not measured."""
    notes = [f"{name}: {one['note']}." for name, one in result["contenders"].items() if one["note"]]
    if gpu := result.get("gpu"):
        held = ", ".join(f"{name} {held_mb}" for name, held_mb in gpu["held_mb"].items())
        notes.append(f"{gpu['name']}, {gpu['memory_mb']:,} MB; MB held: {held}.")
    return [*notes, *(f"Not measured: {name}: {reason}." for name, reason in result["not_measured"].items())]


def _quality(result: Mapping[str, Any]) -> Sheet:
    rows = []
    for name, contender in result["contenders"].items():
        quality = contender["quality"]
        kept, difference = quality["neighbours_kept"], quality["batch_difference"]
        rows.append(
            [
                name,
                f"{quality['mean_cosine']:.5f}",
                f"{quality['min_cosine']:.4f}",
                _small(quality["difference"]),
                "-" if kept is None else f"{kept:.4f}",
                "-" if difference is None else _small(difference),
                f"{quality['text_count']:,}",
                f"{quality['batched_text_count']:,}",
            ]
        )
    columns = ("mean cosine", "min cosine", "max diff", "top-10 kept", "in a batch", "texts", "batched")
    return Sheet(f"Quality against fp32: {result['data']}", ["contender", *columns], rows)


def _small(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def _speed(result: Mapping[str, Any], way: str) -> Sheet:
    rows = [
        [name, *(_speed_cell(contender["speed"][way].get(kind)) for kind in KINDS)]
        for name, contender in result["contenders"].items()
        if way in contender["speed"]
    ]
    title = f"Texts a CPU second / times ONNX Runtime fp32 / times the naive loop: {WAYS[way]}"
    return Sheet(title, ["contender", *KINDS.values()], rows)


def _speed_cell(speed: Mapping[str, Any] | None) -> str:
    if speed is None:
        return "-"
    to_naive = "-" if speed["to_naive"] is None else f"{speed['to_naive']:.0f}"
    return f"{speed['texts_per_cpu_s']:.0f} / {speed['to_fp32']:.2f} / {to_naive}"


def _speed_on_gpu(result: Mapping[str, Any]) -> Sheet:
    rows = [
        [name, *(_cell_on_gpu(contender["speed"][kind]) for kind in KINDS)]
        for name, contender in result["contenders"].items()
    ]
    title = "Texts a second / p50 ms / p99 ms / times torch fp16: texts in, as a user calls it"
    return Sheet(title, ["contender", *KINDS.values()], rows)


def _cell_on_gpu(speed: Mapping[str, Any]) -> str:
    times = f"{speed['p50_ms']:.2f} / {speed['p99_ms']:.2f}"
    return f"{speed['texts_per_s']:,.0f} / {times} / {speed['to_torch']:.2f}"


def _targets(result: Mapping[str, Any]) -> Sheet:
    rows = [_target_row(target) for target in result["targets"]]
    return Sheet("What recwire int8 promises", ["promise", "limit", "measured", "quartiles", "met"], rows)


def _target_row(target: Mapping[str, Any]) -> list[str]:
    sign = ">=" if target["at_least"] else "<="
    quartiles = "-" if target["quartiles"] is None else "{:.3g} to {:.3g}".format(*target["quartiles"])
    return [
        target["what"],
        f"{sign} {target['limit']:g}",
        f"{target['measured']:.4g}",
        quartiles,
        "yes" if target["met"] else "no",
    ]


def _drawn(sheet: Sheet) -> Table:
    drawn = Table(title=sheet.title)
    for number, column in enumerate(sheet.columns):
        drawn.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in sheet.rows:
        drawn.add_row(*row)
    return drawn
