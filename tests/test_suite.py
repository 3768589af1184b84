"""The commands of the benchmarks: what can be asked for, and what is said to who asks for what there is not."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.suite import BENCHMARKS, QUICK_SET, summary, takes_device

ROOT = Path(__file__).parents[1]


def output(*arguments: str) -> str:
    """Return what a command that fails says, in one line."""
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "1000"})
    assert done.exit_code == 2, done.output
    return " ".join(done.output.split())


def test_list_has_a_line_for_each():
    """What it measures, whether it is quick, and whether it takes a device."""
    lines = CliRunner().invoke(app, ["list"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    for name, line in zip(BENCHMARKS, lines, strict=True):
        assert summary(name) in line
        assert (" quick " in line.partition(" min ")[0]) == (name in QUICK_SET)
        assert ("--device" in line) == takes_device(name)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_says_what_it_measures(name: str):
    """Its docstring begins with its name and a line, which `list` shows."""
    assert (BENCHMARKS[name].__doc__ or "").startswith(f"{name}: ")
    assert summary(name)


def test_the_quick_set_is_of_the_suite():
    """Its names are benchmarks."""
    assert set(QUICK_SET) <= set(BENCHMARKS)


def test_names_that_there_are_not_are_told():
    """With those that there are; so is a run without names, and a device that not all take."""
    assert "nosuch; there are: smoke" in output("nosuch", "--json", "out.json")
    assert "add --quick for the quick set; there are: smoke" in output("--json", "out.json")
    assert "--device cuda: not all of these run there" in output("smoke", "--device", "cuda", "--json", "out.json")


def test_report_and_figures_are_commands(tmp_path: Path):
    """A folder without results is refused, and the documentation's figures are checked."""
    assert "has no results" in output("report", str(tmp_path))
    done = subprocess.run([sys.executable, "-m", "benchmarks", "figures"], cwd=ROOT, check=False)
    assert done.returncode == 0
