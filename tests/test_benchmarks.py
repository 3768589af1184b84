"""The comparison of encoders: what it samples, tells and leaves out. It measures; that it does is tested here."""

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks.encoder.comparison import Result, Size, Texts, compare_encoders, make_encoders, make_result
from benchmarks.encoder.contender import FP32, INT8, NAIVE, PLAIN
from benchmarks.encoder.report import table
from benchmarks.encoder.sample import draw_sample
from benchmarks.encoder.speed import KINDS
from benchmarks.encoder.text_encoder import TextEncoder
from benchmarks.markdown import markdown
from recwire_server.encoder import LongText, Purpose, Vector
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder

SIZE = Size(texts=100, batched_texts=20, promised_batched_texts=100, rounds=3, singles=4, batches=2, naive_texts=1)
NOISE = 1e-3


def test_sample_is_the_same_every_time_and_apart_from_calibration(tmp_path: Path) -> None:
    """Without real catalogues the one that ships is sampled, by seed; rivals calibrate with other texts of it."""
    sample = draw_sample(tmp_path, size=100)
    assert sample == draw_sample(tmp_path, size=100)
    assert len(sample.texts) == 100
    assert "shipped" in sample.data
    assert not set(sample.texts) & set(sample.calibration)


def test_sample_takes_the_same_number_of_each_catalogue(films: Path) -> None:
    """Where real catalogues lie beside the project, half of the sample is films."""
    sample = draw_sample(films.parent, size=50)
    assert len(sample.texts) == 100
    assert sum("Genres: " in text for text in sample.texts) == 50


def test_contender_whose_packages_are_missing_is_told(result: Result) -> None:
    """The others are measured, and the result says which is not, and how to have it measured."""
    assert list(result["contenders"]) == [FP32, INT8, PLAIN, NAIVE]
    assert "no_such_package" in result["not_measured"]["rival"]
    assert "pip install" in result["not_measured"]["rival"]


def test_quality_is_told_of_each(result: Result) -> None:
    """The reference has none to fear, noise shows, and vectors that depend on the batch are found out."""
    fp32, int8 = (result["contenders"][name]["quality"] for name in (FP32, INT8))
    assert (fp32["mean_cosine"], fp32["neighbours_kept"], fp32["batch_difference"]) == (1.0, 1.0, 0.0)
    assert 0 < int8["difference"] < 2 * NOISE
    assert int8["batch_difference"] == pytest.approx(NOISE, rel=0.01)
    assert int8["batched_text_count"] == int8["text_count"] == 100


def test_naive_loop_has_the_quality_of_a_few_texts(result: Result) -> None:
    """It takes long, so that there are no neighbours and no batches to tell of."""
    quality = result["contenders"][NAIVE]["quality"]
    assert (quality["text_count"], quality["neighbours_kept"], quality["batch_difference"]) == (1, None, None)


def test_speed_is_told_with_its_spread(result: Result) -> None:
    """Each kind of calls has texts a CPU second, and ratios to fp32 and to the naive loop with quartiles."""
    speed = result["contenders"][INT8]["speed"]
    assert set(speed) == {"encode", "run"}
    for kinds in speed.values():
        assert set(kinds) == {"single", "batch", "short_single", "short_batch"}
        for kind in kinds.values():
            assert kind["texts_per_cpu_s"] > 0
            assert kind["to_fp32_quartiles"][0] <= kind["to_fp32_quartiles"][1]
            assert kind["to_naive"] > 0


def test_result_is_json_and_shown(result: Result) -> None:
    """It survives JSON, and its tables name all contenders and promises."""
    kept = json.loads(json.dumps(result))
    terminal = Console(width=200, file=StringIO(), record=True)
    terminal.print(table(kept))
    for told in (terminal.export_text(), markdown(table(kept))):
        assert all(name in told for name in [*result["contenders"], *result["not_measured"]])
        assert all(target["what"] in told for target in result["targets"])


def test_result_of_a_gpu_is_shown(result: Result) -> None:
    """It has p50, p99 and the ratio to torch by kind of calls, and the memory that each contender holds."""
    speed = {"texts_per_s": 1234.5, "p50_ms": 0.81, "p99_ms": 1.62, "to_torch": 1.9}
    quality = result["contenders"][FP32]["quality"]
    contender = {"note": "", "quality": quality, "speed": dict.fromkeys(KINDS, speed)}
    kept = {
        "data": "some texts",
        "gpu": {"name": "a GPU", "memory_mb": 8192, "held_mb": {"recwire fp16": 321}},
        "contenders": {"recwire fp16": contender},
        "not_measured": {},
    }
    assert "1,234 / 0.81 / 1.62 / 1.90" in markdown(table(kept))
    assert "a GPU, 8,192 MB; MB held: recwire fp16 321" in markdown(table(kept))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The comparison of a hash encoder with one that is off by NOISE in batches, a naive loop, and a rival that is not
    installed."""
    hash_encoder = HashEncoder(max_tokens=64)

    def encode_texts(texts: Sequence[str]) -> Vector:
        return np.stack([one.vector for one in encode(hash_encoder, texts, Purpose.DOCUMENT, LongText.TRUNCATE)])

    def run_off(sequences: Sequence[Sequence[int]]) -> Vector:
        off = NOISE if len(sequences) == 1 else 2 * NOISE
        vectors: Vector = hash_encoder.run(sequences) + np.float32(off)
        return vectors

    def rival(material: Any) -> TextEncoder:
        raise ModuleNotFoundError("No module named 'no_such_package'")

    exact = TextEncoder(encode_texts, hash_encoder.run)
    makers = {
        FP32: lambda material: exact,
        INT8: lambda material: replace(exact, run=run_off),
        PLAIN: lambda material: exact,
        "rival": rival,
        NAIVE: lambda material: replace(exact, run=None),
    }
    sample = draw_sample(tmp_path_factory.mktemp("no-data"), size=100)
    tokenized = hash_encoder.tokenize(sample.texts, Purpose.DOCUMENT)
    texts = Texts(sample.texts, [text.head for text in tokenized], hash_encoder.max_tokens)
    encoders, not_measured = make_encoders(None, makers)
    return make_result(sample.data, texts, SIZE, compare_encoders(encoders, texts, SIZE), not_measured)
