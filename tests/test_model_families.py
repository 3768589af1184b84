"""Each model family through the whole export in fp32, compared with transformers and torch."""

import gc
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_model import FAMILIES, MAX_TOKENS, make_tiny_model, reference_embeddings, reference_of_sequences
from transformers import AutoModel, AutoTokenizer

from recwire_server.encoder import InvalidTextError, LongText, Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model import ModelExportError
from recwire_server.model.cache import export_model
from recwire_server.model.manifest import Manifest
from recwire_server.model.recipe import Precision
from recwire_server.model.settings import SettingsOverrides
from recwire_server.model.source import resolve_source
from recwire_server.model.texts import built_in_texts

LONG_TEXT = " ".join(built_in_texts()[:24])
SHORT_WORDS = ["novel", "about", "the", "crew", "of", "battery", "with"] * 40
# What is left of a text may be nothing, one unknown token, or many tokens a character.
STRANGE_TEXTS = {
    "empty": "",
    "spaces": "   \t\n  ",
    "control characters": "\x00\x01\x7f",
    "right to left": "ספר בישול עם מתכונים; كتاب الطبخ مع وصفات سهلة",
    "joined emoji": "👨‍👩‍👧‍👦 👩🏽‍🚒 🏳️‍🌈",
    "flags": "🇩🇪🇯🇵🇧🇷",
    "32 KiB of a": "a" * 32_768,
    "32 KiB of 的": "的" * 10_922,
    "32 KiB of spaces": " " * 32_768,
    "32 KiB of emoji": "😀" * 8_192,
    "32 KiB of accents": "e\u0301" * 10_922,
    "32 KiB of ligatures of 18 letters": "\ufdfa" * 10_922,
}


@dataclass(frozen=True)
class TinyModel:
    """A source, and what was made of it."""

    source: Path
    manifest: Manifest
    encoder: OnnxEncoder


def export(source: Path, work: Path, **overrides: str) -> TinyModel:
    exported = export_model(
        str(source), Precision.FP32, work / "out", work, lambda step: None, SettingsOverrides(**overrides)
    )
    return TinyModel(source, exported.manifest, OnnxEncoder.load(exported.folder))


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Makes and exports a tiny model of a family, once each with the same pooling."""
    made: dict[tuple[str, str], TinyModel] = {}

    def make(family: str, pooling: str = "mean") -> TinyModel:
        if (family, pooling) not in made:
            work = tmp_path_factory.mktemp("model")
            made[family, pooling] = export(make_tiny_model(family, work / family), work, pooling=pooling)
        return made[family, pooling]

    return make


every_family = pytest.mark.parametrize("family", FAMILIES)


def embed(encoder: OnnxEncoder, texts: list[str], long_text: LongText = LongText.MEAN_OF_CHUNKS) -> np.ndarray:
    return np.stack([embedding.vector for embedding in encode(encoder, texts, Purpose.QUERY, long_text)])


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((family, "mean") for family in FAMILIES), ("bert", "cls"), ("roberta", "cls"), ("gpt2", "lasttoken")],
)
def test_family_equals_the_reference(family, pooling, make_model):
    """In batches of all lengths, cut where they are too long, texts get the reference's embeddings to 1e-4."""
    model = make_model(family, pooling)
    texts = [*built_in_texts()[:64:4], "a", LONG_TEXT]

    embeddings = embed(model.encoder, texts, LongText.TRUNCATE)

    assert (model.manifest.pooling, model.manifest.max_tokens) == (pooling, MAX_TOKENS)
    np.testing.assert_allclose(embeddings, reference_embeddings(model.source, texts, pooling), atol=1e-4)


@every_family
def test_padding_changes_nothing(family, make_model):
    """A sequence padded to the limit beside a long one gets the vector that it gets alone, to 1e-6."""
    encoder = make_model(family, "mean" if family != "gpt2" else "lasttoken").encoder
    short, longest = (tokens.head for tokens in encoder.tokenize(["red shoes", LONG_TEXT], Purpose.QUERY))

    together = encoder.run([short, longest])

    assert len(longest) == MAX_TOKENS
    np.testing.assert_allclose(together[:1], encoder.run([short]), atol=1e-6)


@every_family
def test_long_text_is_the_mean_of_all_its_tokens_in_chunks(family, make_model):
    """A long text's chunks hold the reference's tokens in order, and its embedding is the mean of theirs."""
    model = make_model(family)
    reference = AutoTokenizer.from_pretrained(model.source)

    tokenized = model.encoder.tokenize([LONG_TEXT], Purpose.QUERY)[0]
    embedding = encode(model.encoder, [LONG_TEXT], Purpose.QUERY)[0]

    special_count = reference.num_special_tokens_to_add()
    start, end = special_count // 2, -(special_count // 2) or None
    body = [token for sequence in tokenized.sequences for token in sequence[start:end]]
    assert body == reference(LONG_TEXT, add_special_tokens=False)["input_ids"]
    assert embedding.token_count == len(body) + special_count
    vectors = reference_of_sequences(model.source, tokenized.sequences, "mean")
    mean = vectors.mean(axis=0)
    np.testing.assert_allclose(embedding.vector, mean / np.linalg.norm(mean), atol=1e-4)


@every_family
def test_chunks_end_between_words(family, make_model):
    """Every chunk of a text of short words begins with a word of the text and ends with one."""
    model = make_model(family)
    decode = AutoTokenizer.from_pretrained(model.source).decode

    tokenized = model.encoder.tokenize([" ".join(SHORT_WORDS)], Purpose.QUERY)[0]

    chunks = [decode(sequence, skip_special_tokens=True).split() for sequence in tokenized.sequences]
    assert len(chunks) > 3
    assert [word for chunk in chunks for word in chunk] == SHORT_WORDS


@pytest.mark.parametrize("text", STRANGE_TEXTS.values(), ids=STRANGE_TEXTS)
@every_family
def test_strange_text_has_a_direction(family, text, make_model):
    """Any Unicode text gets a finite vector of unit length, and so does a normal one beside it."""
    vectors = embed(make_model(family).encoder, [text, "red shoes"])

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keeps the garbage collector from looking through what all tests before have left, which takes as long."""
    gc.disable()
    yield
    gc.enable()


@every_family
def test_tokenizing_takes_time_in_proportion(family, make_model, no_collector):
    """The longest texts that a request may hold are tokenized within half a CPU second each, whatever they hold."""
    encoder = make_model(family).encoder

    for text in (text for name, text in STRANGE_TEXTS.items() if name.startswith("32 KiB")):
        begin = time.process_time()
        encoder.tokenize([text], Purpose.QUERY)
        assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("text", STRANGE_TEXTS.values(), ids=STRANGE_TEXTS)
def test_strange_text_has_a_direction_in_minilm(text, int8_encoder):
    """The default model gives any Unicode text a finite vector of unit length."""
    vectors = embed(int8_encoder, [text, "red shoes"])

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@every_family
def test_lone_surrogate_is_refused(family, make_model):
    """What is not Unicode is an error in every family."""
    with pytest.raises(InvalidTextError, match="lone surrogate at character 3"):
        make_model(family).encoder.tokenize(["red\udc00"], Purpose.QUERY)


def test_decoder_reads_its_end_mark_for_an_empty_text(make_model):
    """Where texts have no special tokens, an empty one is the token that stands between texts."""
    model = make_model("gpt2", "lasttoken")

    embedding = encode(model.encoder, [""], Purpose.QUERY)[0]

    end = AutoTokenizer.from_pretrained(model.source).eos_token_id
    assert embedding.token_count == 1
    reference = reference_of_sequences(model.source, [[end]], "lasttoken")[0]
    np.testing.assert_allclose(embedding.vector, reference, atol=1e-4)


def test_e5_gets_its_prefixes_by_name(tmp_path):
    """A plain folder named e5 embeds queries and documents as the reference does behind e5's prefixes."""
    model = export(make_tiny_model("xlm-roberta", tmp_path / "multilingual-e5-tiny"), tmp_path)

    for purpose, prefix in [(Purpose.QUERY, "query: "), (Purpose.DOCUMENT, "passage: ")]:
        embedding = encode(model.encoder, ["笔记本电脑 bag"], purpose)[0]
        reference = reference_embeddings(model.source, [f"{prefix}笔记本电脑 bag"], "mean")[0]
        np.testing.assert_allclose(embedding.vector, reference, atol=1e-4)


@every_family
def test_every_chunk_has_the_prefix(family, make_model, tmp_path):
    """A long text's chunks are what the reference makes of their words behind the prefix, which is counted once."""
    source = make_model(family).source
    encoder = export(source, tmp_path, query_prefix="query: ").encoder
    reference = AutoTokenizer.from_pretrained(source)
    text = " ".join(SHORT_WORDS)

    tokenized = encoder.tokenize([text], Purpose.QUERY)[0]

    chunks = [reference.decode(sequence, skip_special_tokens=True) for sequence in tokenized.sequences]
    words = [chunk.replace(" :", ":").removeprefix("query: ") for chunk in chunks]
    assert " ".join(words) == text
    assert [reference(f"query: {chunk}")["input_ids"] for chunk in words] == tokenized.sequences
    assert tokenized.token_count == len(reference(f"query: {text}")["input_ids"])


def test_prefix_that_takes_most_of_a_sequence_is_refused(make_model, tmp_path):
    """A prefix that leaves little room for a text is an error that names it."""
    with pytest.raises(ModelExportError, match=r"the prefix 'query: query: .* of 64 tokens"):
        export(make_model("bert").source, tmp_path, query_prefix="query: " * 40)


def test_sentence_transformers_folder_is_followed(make_model, tmp_path):
    """Pooling from the step's own folder, prompts, the limit and lower case are as the folder says."""
    source = tmp_path / "source"
    shutil.copytree(make_model("roberta").source, source)
    (source / "pool").mkdir()
    content = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "pool", "type": "sentence_transformers.models.Pooling"},
        ],
        "pool/config.json": {"word_embedding_dimension": 32, "pooling_mode_cls_token": True},
        "config_sentence_transformers.json": {"prompts": {"query": "find: "}, "default_prompt_name": None},
        "sentence_roberta_config.json": {"max_seq_length": 24, "do_lower_case": True},
    }
    for name, fields in content.items():
        (source / name).write_text(json.dumps(fields))

    model = export(source, tmp_path)

    assert (model.manifest.pooling, model.manifest.max_tokens) == ("cls", 24)
    reference = reference_embeddings(source, ["find: the red shoes"], "cls")
    np.testing.assert_allclose(embed(model.encoder, ["The RED Shoes"]), reference, atol=1e-4)


def test_sharded_weights_are_exported(make_model, tmp_path):
    """Weights in several safetensors files give the model of one file."""
    single = make_model("bert")
    source = tmp_path / "source"
    shutil.copytree(single.source, source, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModel.from_pretrained(single.source).save_pretrained(source, max_shard_size="50KB")

    model = export(source, tmp_path)

    assert len(list(source.glob("*.safetensors"))) > 1
    texts = built_in_texts()[:4]
    np.testing.assert_allclose(embed(model.encoder, texts), embed(single.encoder, texts), atol=1e-6)


def test_older_tokenizer_files_are_enough_and_are_hashed(make_model, tmp_path):
    """A RoBERTa without tokenizer.json gets one from vocab.json and merges.txt, which are part of the source's hash."""
    single = make_model("roberta")
    source = tmp_path / "source"
    shutil.copytree(single.source, source, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    AutoTokenizer.from_pretrained(single.source).backend_tokenizer.model.save(str(source))

    model = export(source, tmp_path)

    texts = built_in_texts()[:4]
    np.testing.assert_allclose(embed(model.encoder, texts), embed(single.encoder, texts), atol=1e-6)
    before = resolve_source(str(source)).content_hash()
    with (source / "merges.txt").open("a") as merges:
        merges.write("\n")
    assert resolve_source(str(source)).content_hash() != before


def test_source_without_a_usable_tokenizer_is_explained(make_model, tmp_path):
    """A source without any tokenizer file is a one-line error, and nothing is left behind."""
    source = tmp_path / "source"
    shutil.copytree(make_model("bert").source, source, ignore=shutil.ignore_patterns("tokenizer*", "special*"))

    with pytest.raises(ModelExportError, match=r"has no tokenizer\.json, and transformers cannot make one: [^\n]*$"):
        export(source, tmp_path)

    assert not (tmp_path / "out").exists()
