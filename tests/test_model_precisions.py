"""Every precision of an export: how near to the original, how free of the batch, and what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny_model import FAMILIES, MAX_TOKENS, make_tiny_model, reference_embeddings
from transformers import AutoModel, PreTrainedModel
from typer.testing import CliRunner

from recwire_server.cli.model import app
from recwire_server.encoder import LongText, Purpose
from recwire_server.encoder.device import Device
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.encoder.padding import padded
from recwire_server.encoder.session import load_session
from recwire_server.model import ModelExportError
from recwire_server.model.cache import export_model
from recwire_server.model.fidelity import Run, measure_fidelity
from recwire_server.model.int8.quantize import Quantized, quantize_per_token
from recwire_server.model.manifest import Fidelity, Gate, Manifest, load_manifest
from recwire_server.model.pooling import add_pooling
from recwire_server.model.recipe import Precision
from recwire_server.model.simplification import simplified
from recwire_server.model.source import resolve_source
from recwire_server.model.texts import built_in_texts
from recwire_server.model.trace import quiet_libraries, trace

TEXTS = [*built_in_texts()[:62], "a", " ".join(built_in_texts()[:24])]
every_family = pytest.mark.parametrize("family", FAMILIES)


def silent(step: str) -> None:
    """A report that goes nowhere."""


class Exports:
    """Tiny models and what was made of them, once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._out: dict[tuple[str, Precision], Path] = {}

    def source(self, family: str) -> Path:
        folder = self._folder / family
        return folder if folder.exists() else make_tiny_model(family, folder)

    def out(self, family: str, precision: Precision) -> Path:
        if (family, precision) not in self._out:
            out = self._folder / f"{family}-{precision.value}"
            export_model(str(self.source(family)), precision, out, self._folder, silent)
            self._out[family, precision] = out
        return self._out[family, precision]

    def manifest(self, family: str, precision: Precision) -> Manifest:
        return load_manifest(self.out(family, precision))

    def encoder(self, family: str, precision: Precision) -> OnnxEncoder:
        return OnnxEncoder.load(self.out(family, precision))


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


def embed(encoder: OnnxEncoder, texts: list[str]) -> np.ndarray:
    return np.stack([embedding.vector for embedding in encode(encoder, texts, Purpose.DOCUMENT, LongText.TRUNCATE)])


def cosines(encoder: OnnxEncoder, source: Path) -> np.ndarray:
    """Those of the texts' embeddings to what transformers and torch give."""
    return np.sum(embed(encoder, TEXTS) * reference_embeddings(source, TEXTS, "mean"), axis=1)


@every_family
def test_int8_is_near_the_reference(family, exports):
    """In int8 every family passes its gate, and its mean cosine to transformers is at least .998."""
    manifest = exports.manifest(family, Precision.INT8)

    assert (manifest.precision, manifest.batch_invariant, manifest.weight_bits) in {
        ("int8", True, 7),
        ("int8", True, 8),
    }
    assert manifest.gate.shortfalls(manifest.fidelity) == []
    of_texts = cosines(exports.encoder(family, Precision.INT8), exports.source(family))
    assert of_texts.mean() >= 0.998
    assert of_texts.min() >= 0.99


@every_family
def test_int8_does_not_depend_on_the_batch(family, exports):
    """In batches of any size and padded to the limit a sequence in int8 gets the vector that it gets alone, to 1e-6."""
    encoder = exports.encoder(family, Precision.INT8)
    sequences = [tokenized.head for tokenized in encoder.tokenize(TEXTS, Purpose.DOCUMENT)]
    alone = np.concatenate([encoder.run([sequence]) for sequence in sequences])

    for size in (2, 8, 32):
        starts = range(0, len(sequences), size)
        batched = np.concatenate([encoder.run(sequences[start : start + size]) for start in starts])
        np.testing.assert_allclose(batched, alone, atol=1e-6)

    longest = sequences[-1]
    assert len(longest) == MAX_TOKENS
    for sequence, vector in zip(sequences[:8], alone, strict=False):
        np.testing.assert_allclose(encoder.run([sequence, longest])[0], vector, atol=1e-6)


@dataclass(frozen=True)
class Traced:
    """A tiny BERT as Optimum traces it, pooled; and what its quantization is measured with."""

    model: onnx.ModelProto
    sequences: list[list[int]]
    vectors: np.ndarray

    def measure(self, model: onnx.ModelProto) -> Fidelity:
        return measure_fidelity(runner(model), self.vectors, self.sequences, MAX_TOKENS)

    def quantize(self, weight_levels: int, gate: Gate) -> Quantized:
        return quantize_per_token(self.model, self.sequences, weight_levels, 7, gate, self.measure, silent)


def runner(model: onnx.ModelProto) -> Run:
    session = load_session(model.SerializeToString(), Device.CPU, intra_op_threads=1)
    return lambda batch: session.run(["embedding"], padded(batch))[0]


@pytest.fixture(scope="module")
def traced(exports, tmp_path_factory) -> Traced:
    with quiet_libraries():
        original = trace(resolve_source(str(exports.source("bert"))), tmp_path_factory.mktemp("trace"), silent)
    model = simplified(add_pooling(onnx.load(original), "mean"))
    encoder = exports.encoder("bert", Precision.FP32)
    sequences = [tokenized.head for tokenized in encoder.tokenize(TEXTS, Purpose.DOCUMENT)]
    return Traced(model, sequences, np.concatenate([encoder.run([sequence]) for sequence in sequences]))


@pytest.mark.parametrize("levels", [127, 63])
def test_all_projections_become_integers_of_the_levels(levels, traced):
    """Where the gate allows it, all weights are integers up to the levels, 63 where products saturate, each token has
    its own scale, and the mean cosine is at least .998."""
    quantized = traced.quantize(levels, Gate(0.998, 0.5, 1e-6))

    assert quantized.float32_layers == []
    weights = [numpy_helper.to_array(tensor) for tensor in quantized.model.graph.initializer]
    integers = [weight for weight in weights if weight.dtype == np.int8]
    # Two layers of query, key, value, attention output and two of the feed-forward part.
    assert [int(np.abs(weight.astype(int)).max()) for weight in integers] == [levels] * 12
    # Positions, token types and so few words that they are not worth a cast.
    assert sum(weight.ndim == 2 and weight.dtype == np.float32 for weight in weights) == 3
    assert traced.measure(quantized.model).mean_cosine >= 0.998


def test_gate_that_int8_cannot_pass_leaves_the_original(traced):
    """Under a gate that only float32 passes, all layers stay in it, named in the order of the graph."""
    quantized = traced.quantize(127, Gate(0.9999999, 1, 1e-6))

    layers = ("attention/self/query", "attention/output/dense", "intermediate/dense", "output/dense")
    names = [f"encoder/layer.{number}/{layer}/MatMul_output_0" for number in (0, 1) for layer in layers]
    assert quantized.float32_layers == names
    embeddings = [runner(model)(traced.sequences) for model in (quantized.model, traced.model)]
    np.testing.assert_allclose(*embeddings, atol=1e-6)


def test_stricter_gate_keeps_more_in_float32(traced):
    """Of two gates, the model passes each, and the stricter one costs more layers."""
    gates = [Gate(limit, 0.5, 1e-6) for limit in (0.998, 0.99998)]

    loose, strict = (traced.quantize(127, gate) for gate in gates)

    assert gates[1].shortfalls(traced.measure(strict.model)) == []
    assert 0 == len(loose.float32_layers) < len(strict.float32_layers) < 8


def test_int8_is_the_same_again_and_follows_its_texts(exports, tmp_path):
    """The same source and texts give the same version twice; texts of one's own give another, which passes as well."""
    source, texts = exports.source("bert"), tmp_path / "texts.txt"
    texts.write_text("\n".join(f"{text} {n}" for n, text in enumerate(built_in_texts()[:200])), encoding="utf-8")

    again = export_model(str(source), Precision.INT8, tmp_path / "again", tmp_path, silent).manifest
    other = export_model(str(source), Precision.INT8, tmp_path / "other", tmp_path, silent, texts_file=texts).manifest

    first = exports.manifest("bert", Precision.INT8)
    assert again == first
    assert other.version != first.version
    assert (other.calibration == first.calibration, other.fidelity.text_count) == (False, 100)


def test_same_texts_are_not_exported_again(exports, tmp_path):
    """A folder made with a file of texts is up to date for the same lines, and not for others or for the built-in."""
    source, texts, out = str(exports.source("bert")), tmp_path / "texts.txt", tmp_path / "out"

    def export(lines: list[str]) -> bool:
        texts.write_text("\n".join(lines), encoding="utf-8")
        return export_model(source, Precision.FP32, out, tmp_path, silent, texts_file=texts).up_to_date

    lines = built_in_texts()[:64]
    assert [export(lines), export([*lines, ""]), export([*lines[1:], "another"])] == [False, True, False]


@every_family
def test_fp16_is_nearly_the_original(family, exports):
    """In fp16 on the CPU every family's cosines to transformers are at least .9999 in the mean."""
    manifest = exports.manifest(family, Precision.FP16)

    assert (manifest.precision, manifest.weight_bits, manifest.quantization_target) == ("fp16", 16, "")
    assert cosines(exports.encoder(family, Precision.FP16), exports.source(family)).mean() >= 0.9999


def test_fp16_file_holds_its_weights_in_float16(exports):
    """In fp16 all weights of the file are float16; ids go in as int64, and embeddings come out as float32."""
    encoder = exports.encoder("bert", Precision.FP16)
    graph = onnx.load(exports.out("bert", Precision.FP16) / "model.onnx").graph

    assert encoder.run([[2, 7, 3]]).dtype == np.float32
    weights = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    assert {weight.dtype for weight in weights if weight.size > 64} == {np.dtype(np.float16)}


@pytest.mark.parametrize("size", [300, 1e-4])
def test_fp16_pools_token_vectors_of_any_size(size, exports, tmp_path):
    """Token vectors whose squares float16 cannot hold, or whose squares it rounds to zero, are no loss in fp16."""

    def resize(model: PreTrainedModel) -> None:
        model.encoder.layer[-1].output.LayerNorm.weight *= size

    source = change_weights(exports.source("bert"), tmp_path / "resized", resize)

    export_model(str(source), Precision.FP16, tmp_path / "out", tmp_path, silent)

    assert cosines(OnnxEncoder.load(tmp_path / "out"), source).mean() >= 0.9999


@pytest.mark.parametrize("precision", [Precision.INT8_DYNAMIC, Precision.FP16])
def test_precision_that_depends_on_the_batch_runs_texts_alone(precision, exports):
    """The manifest of the usual int8 and of fp16 promises nothing of batches, so that a text has the same vector alone
    and in a request of many."""
    encoder = exports.encoder("bert", precision)

    together = embed(encoder, TEXTS)

    assert not encoder.batch_invariant
    np.testing.assert_array_equal(together, np.concatenate([embed(encoder, [text]) for text in TEXTS]))


def test_usual_int8_is_worse(exports):
    """The usual int8 is marked 8 bits without a layer in float32, and keeps fewer neighbours than int8 by token."""
    usual, ours = (exports.manifest("bert", p) for p in (Precision.INT8_DYNAMIC, Precision.INT8))

    assert (usual.precision, usual.weight_bits, usual.float32_layers) == ("int8-dynamic", 8, [])
    assert usual.fidelity.neighbours_kept < ours.fidelity.neighbours_kept
    assert usual.fidelity.batch_difference > 1e-3 > ours.fidelity.batch_difference


def change_weights(source: Path, folder: Path, change: Callable[[PreTrainedModel], None]) -> Path:
    """Copy a source with other weights."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    model = AutoModel.from_pretrained(source)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    return folder


def test_source_that_float16_cannot_hold_is_refused(exports, tmp_path):
    """Weights past float16's largest number are fine in fp32; in fp16 the export says which figure is below the gate,
    and leaves no folder."""

    def enlarge(model: PreTrainedModel) -> None:
        model.encoder.layer[0].output.dense.weight *= 1e6  # the norm behind it takes the size away again

    source = change_weights(exports.source("bert"), tmp_path / "large", enlarge)

    with pytest.raises(ModelExportError, match=r"large in fp16 falls short of its gate: mean cosine .* below 0\.9999"):
        export_model(str(source), Precision.FP16, tmp_path / "out", tmp_path, silent)

    assert [path.name for path in tmp_path.iterdir()] == ["large"]
    export_model(str(source), Precision.FP32, tmp_path / "out", tmp_path, silent)


def plant_cancelling_channels(model: PreTrainedModel) -> None:
    """Have two large channels cancel each other in the first layer's feed-forward part, and nowhere else.

    Both are copies of one value, 50 and 65 times; the products with their weights sum to zero, so that what rounding
    leaves of either is far above all else.
    """
    embeddings, layer = model.embeddings, model.encoder.layer[0]
    for table in (embeddings.word_embeddings, embeddings.position_embeddings, embeddings.token_type_embeddings):
        table.weight[:, 1] = table.weight[:, 0]
    output = layer.attention.output
    output.dense.weight[1], output.dense.bias[1] = output.dense.weight[0], output.dense.bias[0]
    output.LayerNorm.weight[0], output.LayerNorm.weight[1] = 50, 65
    layer.intermediate.dense.weight[:, 0] *= 100
    layer.intermediate.dense.weight[:, 1] = -layer.intermediate.dense.weight[:, 0] * 50 / 65
    layer.output.LayerNorm.weight[:] = 30
    layer.output.LayerNorm.weight[:2] = 0


def test_layer_that_int8_would_ruin_stays_in_float32(exports, tmp_path):
    """Of a model with one site that rounding ruins, that site stays in float32, which the manifest and `show` say."""
    source = change_weights(exports.source("bert"), tmp_path / "planted", plant_cancelling_channels)

    manifest = export_model(str(source), Precision.INT8, tmp_path / "out", tmp_path, silent).manifest

    (planted,) = [name for name in manifest.float32_layers if "layer.0/intermediate" in name]
    assert len(manifest.float32_layers) < 8
    assert manifest.gate.shortfalls(manifest.fidelity) == []
    assert cosines(OnnxEncoder.load(tmp_path / "out"), source).mean() >= 0.998
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "out")], env={"COLUMNS": "200"}).stdout
    assert planted in shown
