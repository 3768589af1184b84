"""`recwire-server model`, as its users type it."""

from pathlib import Path

import pytest
from tiny_model import make_tiny_model
from typer.testing import CliRunner, Result

from recwire_server.cli.model import app


@pytest.fixture
def run(model_cache: Path):
    """Run the command line with the tests' model cache."""

    def run_command(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, env={"RECWIRE_CACHE_DIR": str(model_cache), "COLUMNS": "200"})

    return run_command


def test_export_says_what_is_there(run, int8_model):
    """A model that is there already is named on one line of standard output."""
    result = run("export")

    assert result.exit_code == 0
    assert result.stdout.startswith(f"up to date: {int8_model} (all-MiniLM-L6-v2, int8, version ")
    assert result.stderr == ""


def test_export_shows_its_steps_on_standard_error(run, int8_model, tmp_path):
    """Progress goes to standard error, the result to standard output."""
    result = run("export", "--out", str(tmp_path / "model"))

    assert result.stdout.startswith(f"exported: {tmp_path / 'model'} ")
    assert "copy from the cache" in result.stderr


def test_list_and_show_describe_models(run, int8_model):
    """`list` names the cache's models, `show` prints a model's manifest."""
    assert str(int8_model) in run("list").stdout
    shown = run("show", str(int8_model)).stdout
    assert "all-MiniLM-L6-v2" in shown
    assert "batch invariant  yes" in shown


def test_pooling_and_prefixes_are_options(run, tmp_path):
    """What the options say is in the model folder; the same options again change nothing, others export anew."""
    source, out = make_tiny_model("bert", tmp_path / "source"), tmp_path / "model"
    command = ("export", str(source), "--out", str(out), "--precision", "fp32", "--query-prefix", "q: ")

    assert run(*command, "--pooling", "cls").stdout.startswith("exported: ")
    assert run(*command, "--pooling", "cls").stdout.startswith("up to date: ")
    other = run(*command, "--pooling", "mean", "--document-prefix", "d: ").stdout

    assert other.startswith("exported: ")
    assert "prefixes 'q: ' and 'd: '" in other

    shown = " ".join(run("show", str(out)).stdout.split())
    assert "pooling mean query prefix 'q: ' document prefix 'd: '" in shown


@pytest.mark.parametrize(
    "arguments", [("show", "/nowhere"), ("export", "./nowhere"), ("export", "--out", "/proc/none")]
)
def test_failure_is_one_line_and_status_1(arguments, run, int8_model):
    """What the operator can mend is one line without a traceback."""
    result = run(*arguments)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [("--precision", "int3"), ("--pooling", "max")])
def test_wrong_usage_is_status_2(arguments, run):
    """An unknown precision or pooling is a usage error."""
    assert run("export", *arguments).exit_code == 2
