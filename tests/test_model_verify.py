"""`recwire-server model verify`, and what `show` and `list` say of a precision, as their users see it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import make_tiny_model
from typer.testing import CliRunner, Result

from recwire_server.cli.model import app
from recwire_server.model.cache import export_model
from recwire_server.model.manifest import Gate, load_manifest, write_manifest
from recwire_server.model.recipe import Precision
from recwire_server.model.settings import SettingsOverrides
from recwire_server.model.texts import built_in_texts

BATCHES = [
    *(f"batches of {size}, {order}" for size in (2, 8, 32) for order in ("sorted by length", "unsorted")),
    "padded to the maximum",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache that has a tiny BERT in three precisions and a DistilBERT, beside their sources."""
    folder = tmp_path_factory.mktemp("cache")
    bert, distilbert = (make_tiny_model(family, folder / family) for family in ("bert", "distilbert"))
    for source, precision in [
        (bert, Precision.INT8),
        (bert, Precision.FP32),
        (bert, Precision.INT8_DYNAMIC),
        (distilbert, Precision.FP32),
    ]:
        export_model(str(source), precision, None, folder, lambda step: None)
    return folder


@pytest.fixture(scope="module")
def find(cache: Path) -> Callable[[str], Path]:
    """Finds a model's folder in the cache by its name and precision."""

    def find_folder(model: str) -> Path:
        (folder,) = (cache / "models").glob(f"{model}-{'[0-9a-f]' * 12}")
        return folder

    return find_folder


@pytest.fixture
def run(cache: Path):
    """Run the command line with that cache."""

    def run_command(*arguments: str | Path) -> Result:
        environment = {"RECWIRE_CACHE_DIR": str(cache), "COLUMNS": "200"}
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)

    return run_command


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A file of 70 texts."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(built_in_texts()[:70]), encoding="utf-8")
    return path


@pytest.fixture
def copy_with(find, tmp_path: Path) -> Callable[..., Path]:
    """Copies the BERT in int8 with other fields in its manifest."""

    def copy(**fields: object) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(find("bert-int8"), folder)
        write_manifest(folder, replace(load_manifest(folder), **fields))
        return folder

    return copy


def rows(result: Result) -> dict[str, list[str]]:
    """The table's rows: what, and its cells."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    return {what: values for what, *values in cells}


def test_table_has_the_figures_the_limits_and_the_speeds(run, copy_with):
    """Of a model that passes, the table has both cosines, kept neighbours, seven kinds of batches and two speeds."""
    # So small a model may keep a little less than .95 on other texts than those of its export.
    result = run("verify", copy_with(gate=Gate(0.998, 0.9, 1e-6)))

    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip().endswith("passes its gate")
    table = rows(result)
    assert list(table) == [
        *("mean cosine", "least cosine", "top-10 neighbours kept"),
        *(f"alone against {kind}" for kind in BATCHES),
        *("texts a CPU second, one text at a time", "texts a CPU second, sorted batches of 8"),
    ]
    assert 0.998 <= float(table["mean cosine"][0]) <= 1
    assert float(table["least cosine"][0]) <= float(table["mean cosine"][0])
    assert [table[what][1] for what in ("mean cosine", "top-10 neighbours kept")] == [">= 0.998", ">= 0.9"]
    for kind in BATCHES:
        difference, limit = table[f"alone against {kind}"]
        assert float(difference) <= 1e-6
        assert limit == "<= 1e-06"
    for what in ("one text at a time", "sorted batches of 8"):
        assert table[f"texts a CPU second, {what}"][0].endswith("x fp32)")


def test_original_is_as_near_as_can_be(run, find):
    """A model in fp32 is compared with itself: cosine 1, all neighbours kept."""
    table = rows(run("verify", find("bert-fp32")))

    assert (table["mean cosine"][0], table["top-10 neighbours kept"][0]) == ("1.00000", "1.0000")


def test_precision_that_runs_texts_alone_has_no_limit_for_batches(run, find, texts):
    """Of the usual int8 the differences in batches are shown, and held to nothing."""
    result = run("verify", find("bert-int8-dynamic"), "--texts", texts)

    assert result.exit_code == 0, result.stderr
    difference, limit = rows(result)["alone against batches of 32, unsorted"]
    assert float(difference) > 1e-4
    assert limit == ""


def test_own_texts_are_what_is_measured(run, find, texts):
    """With --texts the figures are over the lines of the file."""
    result = run("verify", find("bert-fp32"), "--texts", texts)

    assert result.exit_code == 0, result.stderr
    assert "bert fp32, 70 texts, beside fp32" in result.stdout


@pytest.mark.parametrize(
    ("gate", "line"),
    [
        (Gate(0.9999999, 0.5, 1e-6), r"below its gate: mean cosine 0.9"),
        (Gate(0.998, 0.99999, 1e-6), r"below its gate: top-10 neighbours kept 0.9"),
        (Gate(0.998, 0.5, 0.0), r"below its gate: batch difference"),
    ],
    ids=["cosine", "neighbours", "batches"],
)
def test_model_below_its_gate_is_status_1(gate, line, run, copy_with, texts):
    """A model below the gate in its manifest gets its table all the same, and what is missing on standard error."""
    result = run("verify", copy_with(gate=gate), "--texts", texts)

    assert result.exit_code == 1
    assert line in result.stderr
    assert "passes" not in result.stdout
    assert "mean cosine" in rows(result)


def test_reference_may_be_named(run, find, copy_with, texts):
    """With --reference the source is not needed any more."""
    result = run(
        "verify",
        copy_with(source="./gone", gate=Gate(0.998, 0.8, 1e-6)),
        "--reference",
        find("bert-fp32"),
        "--texts",
        texts,
    )

    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("reference", "message"),
    [("distilbert-fp32", "is of another source than"), ("bert-int8-dynamic", "is in int8-dynamic, not in fp32")],
)
def test_reference_that_says_nothing_is_refused(reference, message, run, find):
    """A reference of another source, or one that is no original, is one line on standard error."""
    result = run("verify", find("bert-int8"), "--reference", find(reference))

    assert result.exit_code == 1
    assert message in result.stderr
    assert "--reference" in result.stderr
    assert "Traceback" not in result.stderr


def test_reference_of_other_pooling_is_refused(run, find, cache, tmp_path):
    """An original that pools otherwise is none of this model."""
    other = tmp_path / "cls"
    overrides = SettingsOverrides(pooling="cls")
    export_model(str(cache / "bert"), Precision.FP32, other, tmp_path, lambda step: None, overrides)

    result = run("verify", find("bert-int8"), "--reference", other)

    assert result.exit_code == 1
    assert "has cls pooling, bert mean; name an fp32 export of the same with --reference" in result.stderr


def test_source_that_is_gone_is_explained(run, copy_with):
    """Without its source a model cannot be compared; the error names what is missing and the way out."""
    result = run("verify", copy_with(source="./gone"))

    assert result.exit_code == 1
    assert "no folder ./gone" in result.stderr
    assert "or name a folder of bert in fp32 with --reference" in result.stderr


def test_source_that_has_changed_is_explained(run, copy_with, cache):
    """A source that is not what the model was exported from is no original of it."""
    result = run("verify", copy_with(source=str(cache / "distilbert")))

    assert result.exit_code == 1
    assert "is not what bert was exported from" in result.stderr
    assert "--reference" in result.stderr


@pytest.mark.parametrize("arguments", [("/nowhere",), ("/nowhere", "--texts", "/nowhere/texts.txt")])
def test_what_is_not_there_is_one_line(arguments, run):
    """A missing folder or file of texts is named without a traceback."""
    result = run("verify", *arguments)

    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("error: /nowhere")]
    assert "Traceback" not in result.stderr


def test_show_says_what_the_precision_means(run, find):
    """`show` has the bits, what stayed in float32, whether batches matter, and the figures beside their gate."""
    int8, usual = (" ".join(run("show", find(name)).stdout.split()) for name in ("bert-int8", "bert-int8-dynamic"))

    manifest = load_manifest(find("bert-int8"))
    assert f"weights {manifest.weight_bits} bits {manifest.quantization_target}" in int8
    assert f"kept in float32 {', '.join(manifest.float32_layers) or 'nothing'} batch invariant yes" in int8
    assert f"mean {manifest.fidelity.mean_cosine:.5f}, least {manifest.fidelity.min_cosine:.5f} to the original" in int8
    assert f"top-10 kept {manifest.fidelity.neighbours_kept:.4f} (gate 0.95)" in int8
    assert f"batch difference {manifest.fidelity.batch_difference:.1e}" in int8
    assert "batch invariant no: sequences run one by one" in usual


def test_list_has_precision_and_cosine_of_each(run, find):
    """`list` has a line a model: its precision, its mean cosine, its folder."""
    listed = [line.split() for line in run("list").stdout.splitlines()]

    manifest = load_manifest(find("bert-int8-dynamic"))
    (line,) = [line for line in listed if "int8-dynamic" in line]
    assert line[:4] == ["bert", "int8-dynamic", "32", f"{manifest.fidelity.mean_cosine:.4f}"]
    assert sorted(words[1] for words in listed[1:] if len(words) > 3) == ["fp32", "fp32", "int8", "int8-dynamic"]
