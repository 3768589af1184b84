"""The report of results: tables and plots from JSON alone, and what cannot be shown is told."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from rich.console import Group
from rich.panel import Panel
from rich.table import Table

from benchmarks.markdown import markdown
from benchmarks.report import make_report
from benchmarks.result_file import ResultFileError, read_result_file, write_result_file
from benchmarks.suite import BENCHMARKS

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
STAMP = {"time": "2026-01-02T03:04:05+00:00", "command": ["python", "-m", "benchmarks", "pace"], "commit": "c0ffee"}


def pace_table(result: dict[str, float]) -> Table:
    shown = Table("call", title="pace", caption="of one call")
    shown.add_column("ms", justify="right")
    shown.add_row("embed", f"{result['p50_ms']:.1f}")
    return shown


def pace_plot(result: dict[str, float]) -> object:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([0, 1], [0, result["p50_ms"]], label="embed")
    return figure


PACE = cast(ModuleType, SimpleNamespace(table=pace_table, plot=pace_plot))
PLAIN = cast(ModuleType, SimpleNamespace(table=pace_table))


def test_tables_become_markdown():
    """With titles and captions; texts become a list; the rest looks as on a terminal."""
    first = Table("call", "a|b", title="[bold]first[/]", caption="caption")
    first.add_row("embed", "1\n2")
    second = Table("x", show_header=False)
    second.add_row("y")
    assert markdown(Group(first, "one [dim]remark[/]", "another", Group(second, Panel("boxed", width=9)))) == (
        "first:\n\n| call | a\\|b |\n| --- | --- |\n| embed | 1 2 |\n\ncaption.\n\n"
        "- one remark\n- another\n\n"
        "|  |\n| --- |\n| y |\n\n"
        "```text\n╭───────╮\n│ boxed │\n╰───────╯\n```"
    )


def test_a_result_is_shown_with_what_it_was_run_on(tmp_path: Path):
    """Table, plot, command, time and duration, machine, commit, versions."""
    stamp = STAMP | {"processor": "a processor", "cores": 2, "python": "3.11", "packages": {"grpcio": "1.75.0"}}
    write_result_file(
        tmp_path / "pace.json", stamp, {"pace": {"p50_ms": 1.25, "packages": {"rival": "7"}}}, {"pace": 61}
    )
    page = make_report(tmp_path, {"pace": PACE}, draws=False).page(with_plots=True)
    for line in (
        "## pace\n",
        "| embed | 1.2 |",
        "of one call.",
        "![pace](pace.svg)",
        "- command: `python -m benchmarks pace`",
        "- time: 2026-01-02T03:04:05+00:00, 61 s",
        "- machine: a processor, 2 cores",
        "- commit: c0ffee",
        "- versions: Python 3.11, grpcio 1.75.0, rival 7",
    ):
        assert line in page
    assert "pip install -c constraints.txt matplotlib" in make_report(tmp_path, {"pace": PACE}, draws=False).page(
        with_plots=False
    )


def test_what_cannot_be_shown_is_told(tmp_path: Path):
    """Files that are none, benchmarks that are gone, results of another version; the others are shown."""
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"results": []}')
    write_result_file(tmp_path / "quick.json", STAMP, {"pace": {"p50_ms": 1}, "gone": {}, "plain": {"p50": 1}}, {})
    report = make_report(tmp_path, {"plain": PLAIN, "pace": PACE}, draws=False)
    assert [reason.partition(":")[0] for reason in report.left_out] == [
        "broken.json is no result of a benchmark",
        "other.json is no result of a benchmark",
        "quick.json",
        "quick.json",
    ]
    assert "no benchmark 'gone'" in report.left_out[2]
    assert "plain is of another version: KeyError('p50_ms'); measure it anew" in report.left_out[3]
    page = report.page(with_plots=True)
    assert "## pace (quick.json)" in page
    assert "![pace](quick-pace.svg)" in page
    assert all(reason in page for reason in report.left_out)


def test_a_folder_without_results_is_refused(tmp_path: Path):
    """With what makes some."""
    with pytest.raises(ResultFileError, match="python -m benchmarks NAME --json"):
        make_report(tmp_path, BENCHMARKS, draws=False)


def test_plots_are_the_same_bytes_every_time(tmp_path: Path):
    """As SVG and PNG, without dates and random ids."""
    pytest.importorskip("matplotlib")
    write_result_file(tmp_path / "pace.json", STAMP, {"pace": {"p50_ms": 1.25}}, {})
    written = [
        {
            path.name: path.read_bytes()
            for path in make_report(tmp_path, {"pace": PACE}, draws=True).write(tmp_path / out)
        }
        for out in ("once", "again")
    ]
    assert written[0] == written[1]
    assert list(written[0]) == ["report.md", "pace.svg", "pace.png"]
    assert b"<svg" in written[0]["pace.svg"]
    assert written[0]["pace.png"].startswith(b"\x89PNG")


def test_the_committed_page_is_that_of_the_committed_results():
    """All of them are shown, and the page is what `report` makes of them, plots apart."""
    report = make_report(RESULTS, BENCHMARKS, draws=False)
    assert report.left_out == []
    assert report.page(with_plots=True) == (RESULTS / "report.md").read_text(encoding="utf-8"), (
        "python -m benchmarks report benchmarks/results"
    )


def test_the_committed_results_can_be_drawn():
    """What has a plot draws it from the JSON, and its files lie beside."""
    pytest.importorskip("matplotlib")
    plots = [one for one in make_report(RESULTS, BENCHMARKS, draws=True).sections if one.plot is not None]
    assert plots
    assert all((RESULTS / f"{one.plot_name}.{ending}").exists() for one in plots for ending in ("svg", "png"))


def test_results_are_kept_and_read(tmp_path: Path):
    """What is written comes back; files of before durations were kept are read too."""
    write_result_file(tmp_path / "new" / "pace.json", STAMP, {"pace": {"p50_ms": 1}}, {"pace": 2.5})
    kept = read_result_file(tmp_path / "new" / "pace.json")
    assert (kept.stamp, kept.results, kept.durations_s) == (STAMP, {"pace": {"p50_ms": 1}}, {"pace": 2.5})
    (tmp_path / "old.json").write_text(json.dumps({"environment": STAMP, "results": {}}))
    assert read_result_file(tmp_path / "old.json").durations_s == {}
