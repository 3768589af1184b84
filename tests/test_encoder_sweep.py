"""The sweep of the encoder: what is counted, cut and told. It measures; that it does is tested here."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from benchmarks.encoder_sweep.contender import LineUp, Model
from benchmarks.encoder_sweep.operations import count_operations
from benchmarks.encoder_sweep.peak import FP32, U8S8, Peak, measure_cpu_peaks
from benchmarks.encoder_sweep.report import plot, table
from benchmarks.encoder_sweep.sequence import cut_sequences
from benchmarks.encoder_sweep.sweep import Cell, Size, make_result, sweep
from recwire_server.encoder.device import Device
from recwire_server.model.cache import export_model
from recwire_server.model.recipe import Precision
from recwire_server.testing import HashEncoder

ROOT = Path(__file__).parents[1]
SIZE = Size(lengths=(8, 16), batches=(1, 4), threads=(1, 2), rounds=2, round_tokens=32, max_calls=3)
OPERATIONS = {8: 8_000, 16: 20_000}


def test_operations_of_known_products(tmp_path: Path) -> None:
    """Of 5 tokens: 5x4 by 4x6, then 5x6 by 6x5 (attention), and the batch as one by a Gemm of 4x3."""
    assert count_operations(_graph(tmp_path), 5) == 2 * (5 * 4 * 6 + 5 * 6 * 5) + 2 * 4 * 3


def test_attention_grows_with_the_square_of_the_tokens(tmp_path: Path) -> None:
    """What is counted is not a count of parameters."""
    graph = _graph(tmp_path)
    assert count_operations(graph, 10) - 2 * count_operations(graph, 5) == 2 * (100 - 50) * 6 - 2 * 4 * 3


def test_fused_products_are_refused(tmp_path: Path) -> None:
    """A graph of which a part could not be counted is told as such."""
    node = helper.make_node("FusedMatMul", ["input_ids", "input_ids"], ["output"], domain="com.microsoft")
    path = _save(tmp_path, [node], [], [1, 1], TensorProto.FLOAT)
    with pytest.raises(ValueError, match="FusedMatMul"):
        count_operations(path, 5)


def test_operations_of_the_model(model_cache: Path) -> None:
    """MiniLM's six layers, by its published shapes."""
    fp16 = export_model(None, Precision.FP16, None, model_cache, print).folder  # in which nothing is fused
    counted = count_operations(fp16 / "model.onnx", 128)
    dense, attention = 128 * (4 * 384 * 384 + 2 * 384 * 1536), 2 * 128 * 128 * 384
    assert counted == 6 * 2 * (dense + attention)


def test_sequences_are_real_tokens_of_one_length() -> None:
    """Texts follow one another between special tokens, and begin anew where they do not last."""
    cut = cut_sequences([[1, 10, 11, 2], [1, 12, 2]], count=2, token_count=6)
    assert cut == [[1, 10, 11, 12, 10, 2], [1, 11, 12, 10, 11, 2]]


def test_every_cell_is_told(cells: list[Cell]) -> None:
    """Contender by threads, length and batch; each with as many calls as were asked for."""
    told = {(cell.contender, cell.threads, cell.length, cell.batch) for cell in cells}
    assert told == {("hash", t, length, batch) for t in (1, 2) for length in SIZE.lengths for batch in SIZE.batches}
    for cell in cells:
        assert cell.call_count == SIZE.rounds * SIZE.calls(cell.length, cell.batch)
        assert cell.p50_ms <= cell.p99_ms
        assert cell.texts_per_s_quartiles[0] <= cell.texts_per_s_quartiles[1]


def test_share_is_of_the_peak_with_as_many_threads(cells: list[Cell]) -> None:
    """Operations of the batch by the median call, by the peak."""
    for cell in cells:
        gops = OPERATIONS[cell.length] * cell.batch / cell.p50_ms / 1e6
        assert cell.peak_share == pytest.approx(gops / (0.001 * cell.threads), rel=0.01, abs=1e-4)


def test_contenders_run_what_is_said() -> None:
    """Each call is a batch of so many sequences of that length."""
    seen: set[tuple[int, int]] = set()

    def run(sequences: list[list[int]]) -> np.ndarray:
        seen.update((len(sequences), len(sequence)) for sequence in sequences)
        return np.zeros((len(sequences), 1), np.float32)

    sweep(_line_up(run), SIZE, _peaks(), OPERATIONS)
    assert seen == {(batch, length) for batch in SIZE.batches for length in SIZE.lengths}


def test_contender_that_cannot_be_had_is_told() -> None:
    """The others are measured."""

    def make(threads: int) -> Model:
        raise ModuleNotFoundError("No module named 'no_such_package'")

    lined_up = _line_up(HashEncoder().run)
    lined_up.add("rival", make, [1])
    assert list(lined_up.models) == ["hash"]
    assert "no_such_package" in lined_up.not_measured["rival"]
    assert "pip install" in lined_up.not_measured["rival"]


def test_peaks_are_told_by_numbers_and_threads() -> None:
    """One for each, of the tool and size that did best."""
    peaks = measure_cpu_peaks([1, 2], rounds=1, sizes=[32, 64])
    assert {(peak.kind, peak.threads) for peak in peaks} == {(kind, count) for kind in (FP32, U8S8) for count in (1, 2)}
    assert all(peak.gops > 0 and peak.size in (32, 64) and len(peak.rounds_gops) == 1 for peak in peaks)


def test_result_is_json_and_shown(cells: list[Cell]) -> None:
    """Its tables and its figure come from what was kept alone."""
    lined_up = _line_up(HashEncoder().run)
    lined_up.not_measured["rival"] = "not there"
    result = make_result(Device.CPU, "some texts", SIZE, _peaks(), OPERATIONS, cells, lined_up)
    kept = json.loads(json.dumps(result))
    terminal = Console(width=200, file=StringIO(), record=True)
    terminal.print(table(kept))
    told = terminal.export_text()
    assert all(words in told for words in ("hash", "2 threads", "rival: not there", "some texts"))
    assert [axes.get_title() for axes in plot(kept).axes][:2] == [
        "8 tokens, 8e-06 GFLOP a text",
        "16 tokens, 2e-05 GFLOP a text",
    ]


@pytest.mark.parametrize("name", ["encoder", "encoder_sweep"])
def test_cuda_without_a_gpu_ends_before_anything_is_measured(name: str, tmp_path: Path) -> None:
    """The message names what to install, and no result is written."""
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--device", "cuda", "--json", str(result)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode == 0:
        pytest.skip("there is a GPU")
    assert "--device cuda: " in ended.stderr
    assert "pip install" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not result.exists()


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """The sweep of a hash encoder."""
    return sweep(_line_up(HashEncoder().run), SIZE, _peaks(), OPERATIONS)


def _line_up(run: object) -> LineUp:
    texts = HashEncoder().tokenize(["a long walk in the mountains with an old friend"] * 3, "document")
    models = [Model(run, Device.CPU, FP32, threads) for threads in (1, 2)]
    return LineUp(Path("no graph"), [text.head for text in texts], {"hash": models})


def _peaks() -> list[Peak]:
    return [Peak("cpu", FP32, threads, "a tool", 64, 0.001 * threads, [0.001 * threads]) for threads in (1, 2)]


def _graph(folder: Path) -> Path:
    """A graph of one text's tokens, 4 wide: a dense product, its product with itself, and a Gemm of their maximum."""
    weight, last = (numpy_helper.from_array(np.ones(shape, np.float32), name) for shape, name in SHAPES)
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float", "axis"], ["column"]),
        helper.make_node("Expand", ["column", "wide"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "weight"], ["dense"]),
        helper.make_node("Transpose", ["dense"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["dense", "turned"], ["attention"]),
        helper.make_node("ReduceMax", ["tokens"], ["greatest"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["greatest", "last"], ["output"], transB=1),
    ]
    axis = numpy_helper.from_array(np.array([2]), "axis")
    wide = numpy_helper.from_array(np.array([1, 1, 4]), "wide")
    return _save(folder, nodes, [weight, last, axis, wide], ["batch", 3], TensorProto.INT64)


SHAPES = (((4, 6), "weight"), ((3, 4), "last"))


def _save(folder: Path, nodes: list, constants: list, output: list, kind: int) -> Path:
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("input_ids", kind, ["batch", "sequence"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "graph.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return path
