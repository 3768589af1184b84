"""How near a model is to its original, what it must reach, and the texts that tell."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recwire_server.model import ModelExportError
from recwire_server.model.fidelity import BATCHED_SEQUENCES, PADDED_SEQUENCES, measure_fidelity
from recwire_server.model.manifest import Fidelity, Gate
from recwire_server.model.recipe import Precision
from recwire_server.model.texts import LONG_TEXTS, MIN_TEXTS, built_in_texts, long_texts, read_texts, split_texts

DIM, MAX_TOKENS = 16, 128
BATCH_SIZES = (2, 8, 32)


class Model:
    """Gives sequence number n, which begins with n, its vector, off by `per_mate` for each other sequence of the batch
    and by `per_padding` for each token that it is padded with."""

    def __init__(self, vectors: np.ndarray, per_mate: float = 0.0, per_padding: float = 0.0) -> None:
        self.vectors, self.per_mate, self.per_padding = vectors, per_mate, per_padding

    def run(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        longest = max(map(len, sequences))
        paddings = np.array([longest - len(sequence) for sequence in sequences])
        # What is joined to the batch only to pad it is no sequence of ours, whatever it begins with.
        offsets = self.per_mate * (len(sequences) - 1) + self.per_padding * paddings
        return self.vectors[[sequence[0] for sequence in sequences]] + offsets[:, np.newaxis]


def unit_vectors(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(vectors: np.ndarray, distance: float) -> np.ndarray:
    moved = vectors + distance * unit_vectors(99, len(vectors))
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def make_sequences(count: int) -> list[list[int]]:
    """Sequences of different lengths in no order."""
    lengths = np.random.default_rng(5).permutation(count) + 1
    return [[number] * int(length) for number, length in enumerate(lengths)]


def kept(vectors: np.ndarray, original: np.ndarray, k: int) -> float:
    """The share of each text's k nearest others that are still the nearest, each counted by hand."""
    found = 0
    for number, vector in enumerate(vectors):
        others = [other for other in range(len(original)) if other != number]
        before = sorted(others, key=lambda other: -original[number] @ original[other])[:k]
        everything = [*vectors, *original[len(vectors) :]]
        after = sorted(others, key=lambda other: -vector @ everything[other])[:k]
        found += len(set(before) & set(after))
    return found / (k * len(vectors))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), distance=st.sampled_from([0.0, 0.05, 0.5]), others=st.sampled_from([0, 17]))
def test_figures_are_those_counted_by_hand(seed, distance, others):
    """Cosines and kept neighbours are those of a loop over all pairs; texts after the sequences are only neighbours."""
    original = unit_vectors(seed, 20 + others)
    vectors = near(original[:20], distance)

    fidelity = measure_fidelity(Model(vectors).run, original, make_sequences(20), MAX_TOKENS)

    cosines = [float(vector @ one) for vector, one in zip(vectors, original, strict=False)]
    assert fidelity.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-6)
    assert fidelity.min_cosine == pytest.approx(min(cosines), abs=1e-6)
    assert fidelity.neighbours_kept == pytest.approx(kept(vectors, original, 10), abs=1e-4)
    assert fidelity.text_count == 20


def test_few_texts_have_few_neighbours():
    """Among five texts each has four neighbours, which all are kept."""
    vectors = unit_vectors(1, 5)

    fidelity = measure_fidelity(Model(near(vectors, 0.5)).run, vectors, make_sequences(5), MAX_TOKENS)

    assert fidelity.neighbours_kept == 1


def test_equal_texts_stand_for_each_other():
    """Where more than ten texts have one vector, any of them is as good a neighbour as another."""
    original = np.repeat(unit_vectors(1, 3), 20, axis=0)
    vectors = near(np.repeat(unit_vectors(1, 3), 20, axis=0), 1e-8)

    fidelity = measure_fidelity(Model(vectors).run, original, make_sequences(60), MAX_TOKENS)

    assert fidelity.neighbours_kept == 1


def test_batch_differences_grow_with_the_batch():
    """A model that moves a vector with each batch-mate shows it in the batches of each size, in order or not."""
    vectors = unit_vectors(1, 64)

    fidelity = measure_fidelity(Model(vectors, per_mate=0.001).run, vectors, make_sequences(64), MAX_TOKENS)

    expected = {
        f"batches of {size}, {order}": 0.001 * (size - 1)
        for size in BATCH_SIZES
        for order in ("sorted by length", "unsorted")
    }
    assert fidelity.batch_differences == pytest.approx({**expected, "padded to the maximum": 0.001 * PADDED_SEQUENCES})
    assert fidelity.mean_cosine == pytest.approx(1)  # alone, nothing moves it


def test_padding_is_measured_sorted_unsorted_and_to_the_maximum():
    """A model that moves a vector with each token of padding shows less of it in batches sorted by length."""
    vectors, sequences = unit_vectors(1, 64), make_sequences(64)

    fidelity = measure_fidelity(Model(vectors, per_padding=0.001).run, vectors, sequences, MAX_TOKENS)

    lengths = [len(sequence) for sequence in sequences]
    for size in BATCH_SIZES:
        batches = [lengths[start : start + size] for start in range(0, 64, size)]
        unsorted = max(max(batch) - min(batch) for batch in batches)
        assert fidelity.batch_differences[f"batches of {size}, sorted by length"] == pytest.approx(0.001 * (size - 1))
        assert fidelity.batch_differences[f"batches of {size}, unsorted"] == pytest.approx(0.001 * unsorted)
    padding = MAX_TOKENS - min(lengths[:PADDED_SEQUENCES])
    assert fidelity.batch_differences["padded to the maximum"] == pytest.approx(0.001 * padding)
    assert fidelity.batch_difference == max(fidelity.batch_differences.values())


def test_batches_take_the_first_sequences():
    """Of many sequences only the first are also run in batches; all are compared with the original."""
    count = BATCHED_SEQUENCES + 9
    vectors = unit_vectors(1, count)
    sizes: list[int] = []

    def run(sequences: Sequence[Sequence[int]]) -> np.ndarray:
        sizes.append(len(sequences))
        return vectors[[sequence[0] for sequence in sequences]]

    fidelity = measure_fidelity(run, vectors, make_sequences(count), MAX_TOKENS)

    assert fidelity.text_count == sizes.count(1) == count
    assert sum(sizes) == count + 6 * BATCHED_SEQUENCES + PADDED_SEQUENCES + 1


class ModelThatFailsInBatches(Model):
    """Gives no number in a batch of some size, and the original's vectors else."""

    def __init__(self, vectors: np.ndarray, size: int) -> None:
        super().__init__(vectors)
        self.size = size

    def run(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        vectors = super().run(sequences)
        return np.full_like(vectors, np.nan) if len(sequences) == self.size else vectors


# 30 sequences are 3 full batches of 8 and a rest of 6; 9 is what is padded to the maximum.
@pytest.mark.parametrize("size", [2, 6, 8, 9, 30])
def test_no_number_in_any_batch_falls_short(size):
    """A model that gives NaN in one kind of batch alone does not pass, whichever it is, first or last."""
    vectors = unit_vectors(1, 30)

    fidelity = measure_fidelity(ModelThatFailsInBatches(vectors, size).run, vectors, make_sequences(30), MAX_TOKENS)

    assert math.isnan(fidelity.batch_difference)
    assert Precision.INT8.gate.shortfalls(fidelity) == ["batch difference nan is above 1e-06"]


PASSING = Fidelity(
    mean_cosine=0.999, min_cosine=0.99, neighbours_kept=0.96, batch_differences={"a": 1e-7, "b": 3e-8}, text_count=192
)
GATE = Gate(min_mean_cosine=0.998, min_neighbours_kept=0.95, max_batch_difference=1e-6)


def test_figures_at_the_limits_pass():
    """What reaches the gate exactly has no shortfall."""
    fidelity = replace(PASSING, mean_cosine=0.998, neighbours_kept=0.95, batch_differences={"a": 1e-6})

    assert GATE.shortfalls(PASSING) == GATE.shortfalls(fidelity) == []


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        ({"mean_cosine": 0.9971}, "mean cosine 0.99710 is below 0.998"),
        ({"mean_cosine": math.nan}, "mean cosine nan is below 0.998"),
        ({"neighbours_kept": 0.9132}, "top-10 neighbours kept 0.9132 is below 0.95"),
        ({"neighbours_kept": math.nan}, "top-10 neighbours kept nan is below 0.95"),
        ({"batch_differences": {"a": 0.0, "b": 2e-3}}, "batch difference 2.0e-03 is above 1e-06"),
        ({"batch_differences": {"a": 0.0, "b": math.nan}}, "batch difference nan is above 1e-06"),
    ],
)
def test_shortfall_names_the_figure_and_the_limit(figures, line):
    """Each figure that falls short is one line with what was measured and what the gate asks for; NaN falls short."""
    assert GATE.shortfalls(replace(PASSING, **figures)) == [line]


def test_all_shortfalls_are_named():
    """A model that is wrong in every way is told so at once."""
    nothing = Fidelity(0.1, 0.0, 0.2, {"a": 1.0}, 192)

    assert len(GATE.shortfalls(nothing)) == 3


def test_batches_do_not_matter_where_texts_run_alone():
    """A gate without a limit for batches takes any difference."""
    gate = replace(GATE, max_batch_difference=None)

    assert gate.shortfalls(replace(PASSING, batch_differences={"a": 0.5})) == []


@pytest.mark.parametrize("precision", Precision)
def test_batch_invariant_precisions_have_a_limit_for_batches(precision):
    """A precision promises vectors free of the batch if and only if its gate holds it to that."""
    assert precision.batch_invariant == (precision.gate.max_batch_difference is not None)


def test_built_in_texts_split_into_halves():
    """Half of the built-in texts calibrate, the other half check; no text is in both."""
    texts = built_in_texts()

    split = split_texts(texts)

    assert len(texts) >= 2 * MIN_TEXTS
    assert sorted([*split.calibration, *split.check]) == sorted(texts)
    assert abs(len(split.calibration) - len(split.check)) <= 1
    assert not set(split.calibration) & set(split.check)
    assert split == split_texts(texts)


def test_built_in_texts_are_of_many_lengths_and_two_scripts():
    """The mix has Latin and Chinese letters, and texts of three words as well as of thirty."""
    texts = built_in_texts()

    for first, last in ("az", "一龥"):
        assert any(first <= character <= last for text in texts for character in text)
    assert min(len(text.split()) for text in texts) <= 3
    assert max(len(text.split()) for text in texts) >= 30


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(st.sampled_from(["lamp", "an old book", "笔记本电脑", "a " * 50]), min_size=1),
    word_count=st.integers(1, 512),
)
def test_long_texts_reach_the_limit(texts, word_count):
    """Joined texts have at least the words asked for, and are made of the texts; the same seed gives the same ones."""
    joined = long_texts(texts, word_count)

    assert len(joined) == LONG_TEXTS
    assert all(len(text.split()) >= word_count for text in joined)
    assert {word for text in joined for word in text.split()} <= {word for text in texts for word in text.split()}
    assert joined == long_texts(texts, word_count)


def test_file_of_texts_has_one_a_line(tmp_path):
    """Lines are texts as they stand, blank ones are none, and the last needs no end."""
    path = tmp_path / "texts.txt"
    lines = [f"text {number} 笔记本" for number in range(MIN_TEXTS)]
    path.write_text("\n\n  \n".join(lines), encoding="utf-8")

    assert read_texts(path) == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one text\n" * (MIN_TEXTS - 1), "has 63 texts, one a line; at least 64 are needed"),
        (b"", "has 0 texts, one a line; at least 64 are needed"),
        (b"caf\xe9\n" * 100, "cannot be read as UTF-8 text"),
        (None, "cannot be read as UTF-8 text: .*No such file"),
    ],
    ids=["too few", "empty", "Latin-1", "missing"],
)
def test_file_that_is_not_enough_is_refused_by_name(content, message, tmp_path):
    """Too few lines, bytes that are no UTF-8 and a missing file are errors that name the file."""
    path: Path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelExportError, match=rf"texts\.txt {message}"):
        read_texts(path)
