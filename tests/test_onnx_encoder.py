"""The encoder that serves."""

import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recwire_server.encoder import (
    InvalidTextError,
    LongText,
    ModelFolderError,
    Purpose,
    TextTooLongError,
)
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.manifest import load_manifest, read_manifest, write_manifest
from recwire_server.model.texts import built_in_texts

MAX_TOKENS = 256
CHUNK_WORDS = MAX_TOKENS - 2  # a chunk has two special tokens
# Each is one token of MiniLM's vocabulary, so that words can be counted instead of tokens.
WORDS = ["the", "river", "house", "green", "music", "seven", "winter", "stone", "light", "bread"]


def words(count: int) -> list[str]:
    return random.Random(count).choices(WORDS, k=count)


def vector_of(encoder: OnnxEncoder, text: str, long_text: LongText = LongText.MEAN_OF_CHUNKS) -> np.ndarray:
    return encode(encoder, [text], Purpose.QUERY, long_text)[0].vector


def test_related_texts_are_nearer(int8_encoder):
    """A reader of science fiction is nearer to a space novel than to a cookbook, and least to a drill."""
    query = vector_of(int8_encoder, "I like to read science fiction books.")
    novel = vector_of(int8_encoder, "A novel about a starship crew on its way to a distant planet.")
    cookbook = vector_of(int8_encoder, "A cookbook with easy vegetarian recipes.")
    drill = vector_of(int8_encoder, "Cordless drill, 18 V, two batteries.")

    assert query @ novel > query @ cookbook > query @ drill


def test_vectors_are_float32_of_unit_length(int8_encoder):
    """Every vector has the model's dimension, type float32 and length 1, also an empty text's."""
    embeddings = encode(int8_encoder, ["", "hello", " ".join(words(600))], Purpose.QUERY)

    for embedding in embeddings:
        assert embedding.vector.shape == (int8_encoder.dim,)
        assert embedding.vector.dtype == np.float32
        assert np.linalg.norm(embedding.vector) == pytest.approx(1, abs=1e-6)


def test_no_texts_give_no_embeddings(int8_encoder):
    """A request without texts is answered without embeddings."""
    assert encode(int8_encoder, [], Purpose.QUERY) == []


def test_int8_vector_does_not_depend_on_the_request(int8_encoder):
    """In int8, where texts share a batch, the same text gives the same vector to 1e-6, among others of all lengths."""
    texts = [*built_in_texts()[34:64], " ".join(words(300)), "ok"]

    together = encode(int8_encoder, texts, Purpose.QUERY)

    for text, embedding in zip(texts, together, strict=True):
        np.testing.assert_allclose(vector_of(int8_encoder, text), embedding.vector, atol=1e-6)


def test_fp32_vector_does_not_depend_on_the_request(fp32_encoder):
    """In fp32, where texts share a batch, the same text gives the same vector to 1e-6."""
    texts = [*built_in_texts()[34:64], " ".join(words(300)), "ok"]

    together = encode(fp32_encoder, texts, Purpose.QUERY)

    for text, embedding in zip(texts, together, strict=True):
        np.testing.assert_allclose(vector_of(fp32_encoder, text), embedding.vector, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, CHUNK_WORDS, CHUNK_WORDS + 1, 2 * CHUNK_WORDS, 2 * CHUNK_WORDS + 1])
def test_token_count_is_that_of_the_whole_text(count, int8_encoder):
    """token_count counts the whole text and two special tokens, however many chunks it takes."""
    text = " ".join(words(count))

    for long_text in (LongText.MEAN_OF_CHUNKS, LongText.TRUNCATE):
        assert encode(int8_encoder, [text], Purpose.QUERY, long_text)[0].token_count == count + 2


def test_long_text_is_the_mean_of_its_chunks(int8_encoder):
    """By default, a long text's vector is the mean of its even chunks' vectors, scaled to unit length."""
    text = words(600)
    chunks = [" ".join(text[start : start + 200]) for start in range(0, 600, 200)]

    embedding = encode(int8_encoder, [" ".join(text)], Purpose.QUERY)[0]

    mean = np.mean([vector_of(int8_encoder, chunk) for chunk in chunks], axis=0)
    np.testing.assert_allclose(embedding.vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert embedding.token_count == 602
    assert not embedding.truncated


def test_truncated_text_is_its_beginning(int8_encoder):
    """With TRUNCATE, a long text is as much of its beginning as fits, and the embedding says that it was cut."""
    text = words(600)

    embeddings = encode(int8_encoder, [" ".join(text), "short"], Purpose.QUERY, LongText.TRUNCATE)

    beginning = vector_of(int8_encoder, " ".join(text[:CHUNK_WORDS]))
    np.testing.assert_allclose(embeddings[0].vector, beginning, atol=1e-6)
    assert [embedding.truncated for embedding in embeddings] == [True, False]


def test_text_that_is_too_long_is_rejected_on_request(int8_encoder):
    """With REJECT, a text of exactly the limit passes and one token more is an error with both numbers."""
    fits, too_long = " ".join(words(CHUNK_WORDS)), " ".join(words(CHUNK_WORDS + 1))

    assert encode(int8_encoder, [fits], Purpose.QUERY, LongText.REJECT)[0].token_count == MAX_TOKENS
    with pytest.raises(TextTooLongError, match="text 1 has 257 tokens; the limit is 256") as caught:
        encode(int8_encoder, [fits, too_long], Purpose.QUERY, LongText.REJECT)

    assert (caught.value.text_index, caught.value.token_count, caught.value.max_tokens) == (1, 257, 256)


def test_lone_surrogate_is_refused(int8_encoder):
    """A text that is not Unicode is an error that names the text and the character."""
    with pytest.raises(InvalidTextError, match="text 1 is not valid Unicode: lone surrogate at character 2"):
        encode(int8_encoder, ["fine", "no\ud800"], Purpose.QUERY)


def test_purpose_chooses_the_prefix(int8_model, int8_encoder, tmp_path):
    """The manifest's prefix for the purpose goes before the text, and the version says so."""
    folder = tmp_path / "model"
    shutil.copytree(int8_model, folder)
    write_manifest(folder, replace(read_manifest(folder), query_prefix="query: ", document_prefix="passage: "))
    encoder = OnnxEncoder.load(folder)

    query = encode(encoder, ["red shoes"], Purpose.QUERY)[0].vector
    document = encode(encoder, ["red shoes"], Purpose.DOCUMENT)[0].vector

    np.testing.assert_array_equal(query, vector_of(int8_encoder, "query: red shoes"))
    np.testing.assert_array_equal(document, vector_of(int8_encoder, "passage: red shoes"))
    assert encoder.model.version != int8_encoder.model.version


def test_threads_share_one_encoder(int8_encoder):
    """Calls from many threads at once, in all modes, give what one thread gets."""
    texts = [*built_in_texts()[:10], " ".join(words(300))]
    modes = [LongText.MEAN_OF_CHUNKS, LongText.TRUNCATE] * 4
    expected = {mode: encode(int8_encoder, texts, Purpose.QUERY, mode) for mode in modes}

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda mode: encode(int8_encoder, texts, Purpose.QUERY, mode), modes))

    for mode, result in zip(modes, results, strict=True):
        for ours, theirs in zip(result, expected[mode], strict=True):
            np.testing.assert_array_equal(ours.vector, theirs.vector)


def test_serving_imports_neither_torch_nor_transformers(int8_model):
    """Loading a model and encoding needs nothing of the export extra but ONNX Runtime."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from recwire_server.encoder import Purpose\n"
        "from recwire_server.encoder.embedding import encode\n"
        "from recwire_server.encoder.onnx import OnnxEncoder\n"
        "encode(OnnxEncoder.load(Path(sys.argv[1])), ['hello'], Purpose.QUERY)\n"
        "print(sorted({'torch', 'transformers', 'optimum', 'onnx'} & set(sys.modules)))\n"
    )

    result = subprocess.run([sys.executable, "-c", script, str(int8_model)], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, empty, flip_a_byte])
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_damaged_folder_is_refused_by_file_name(damage, name, int8_model, tmp_path):
    """A missing, cut or changed file is named, with the way out."""
    folder = tmp_path / "model"
    shutil.copytree(int8_model, folder)
    damage(folder / name)

    with pytest.raises(ModelFolderError, match=rf"{name} is (missing|damaged).*model export"):
        OnnxEncoder.load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "manifest.json is missing"),
        ("{", "cannot be read"),
        ("[]", "format_version None"),
        ('{"format_version": 99}', "format_version 99; this server reads 2"),
        ('{"format_version": 2, "name": "x"}', "missing or wrong field"),
    ],
)
def test_bad_manifest_is_refused(content, message, int8_model, tmp_path):
    """A manifest that is missing, broken, too new or incomplete is named, with the way out."""
    folder = tmp_path / "model"
    shutil.copytree(int8_model, folder)
    (folder / "manifest.json").unlink()
    if content is not None:
        (folder / "manifest.json").write_text(content)

    with pytest.raises(ModelFolderError, match=message):
        load_manifest(folder)
