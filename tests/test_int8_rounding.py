"""Weights to integers: within their range, and better than plain rounding where the inputs move together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recwire_server.model.int8.rounding import BLOCK_ROWS, round_weights

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 2 * BLOCK_ROWS + 5), st.integers(1, 9))
every_range = pytest.mark.parametrize("levels", [127, 63])


def random_weights(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def correlated_tokens(seed: int, count: int, inputs: int) -> np.ndarray:
    """Activations that move together: a few hidden causes and a little noise."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(count, max(inputs // 4, 1))) @ random.normal(size=(max(inputs // 4, 1), inputs))
    return causes + 0.2 * random.normal(size=(count, inputs))


def step_sizes(weights: np.ndarray, levels: int) -> np.ndarray:
    return np.maximum(np.abs(weights).max(axis=0) / levels, 1e-12).astype(np.float32)


def plain(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.rint(weights / scales).astype(np.int8)


def squared_error(tokens: np.ndarray, weights: np.ndarray, integers: np.ndarray, scales: np.ndarray) -> float:
    """Of the products with the tokens."""
    return float(np.sum((tokens @ (integers * scales.astype(np.float64) - weights)) ** 2))


@every_range
@settings(deadline=None, max_examples=40)
@given(seed=seeds, shape=shapes, token_count=st.integers(1, 200))
def test_integers_stay_in_their_range(levels, seed, shape, token_count):
    """Whatever the weights and the activations, the integers are within +-levels."""
    weights, tokens = random_weights(seed, shape), correlated_tokens(seed, token_count, shape[0])

    integers = round_weights(weights, tokens.T @ tokens, step_sizes(weights, levels), levels)

    assert integers.dtype == np.int8
    assert integers.shape == shape
    assert np.abs(integers.astype(int)).max() <= levels


@every_range
@settings(deadline=None, max_examples=40)
@given(seed=seeds, shape=shapes)
def test_unrelated_inputs_are_rounded_plainly(levels, seed, shape):
    """Where no input says anything about another, each weight becomes its nearest integer."""
    weights = random_weights(seed, shape)
    scales = step_sizes(weights, levels)
    diagonal = np.diag(np.random.default_rng(seed).uniform(0.1, 10, shape[0]))

    integers = round_weights(weights, diagonal, scales, levels)

    np.testing.assert_array_equal(integers, plain(weights, scales))


@every_range
@settings(deadline=None, max_examples=25)
@given(seed=seeds, inputs=st.sampled_from([24, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 7]))
def test_correlated_inputs_make_up_for_each_other(levels, seed, inputs):
    """The error in the products is below plain rounding's, within a block of rows and across blocks."""
    weights, tokens = random_weights(seed, (inputs, 32)), correlated_tokens(seed, 4 * inputs, inputs)
    scales = step_sizes(weights, levels)

    integers = round_weights(weights, tokens.T @ tokens, scales, levels)

    error = squared_error(tokens, weights, integers, scales)
    assert error < 0.8 * squared_error(tokens, weights, plain(weights, scales), scales)


def test_inputs_far_apart_make_up_for_each_other():
    """Of two inputs that say the same, the later one makes up for the earlier, also in another block of rows."""
    first = np.random.default_rng(2).normal(size=(500, BLOCK_ROWS))
    tokens = np.concatenate([first, first + 0.01 * np.random.default_rng(3).normal(size=first.shape)], axis=1)
    weights = random_weights(1, (2 * BLOCK_ROWS, 32))
    scales = step_sizes(weights, 127)

    integers = round_weights(weights, tokens.T @ tokens, scales, 127)

    error = squared_error(tokens, weights, integers, scales)
    assert error < 0.6 * squared_error(tokens, weights, plain(weights, scales), scales)


@pytest.mark.parametrize("token_count", [1, 5, 40])
def test_fewer_tokens_than_inputs_are_enough(token_count):
    """From a gram that has no inverse the integers still make a smaller error than plain rounding's."""
    weights, tokens = random_weights(1, (96, 32)), correlated_tokens(2, token_count, 96)
    scales = step_sizes(weights, 127)

    integers = round_weights(weights, tokens.T @ tokens, scales, 127)

    error = squared_error(tokens, weights, integers, scales)
    assert error < squared_error(tokens, weights, plain(weights, scales), scales)


def test_silent_channels_are_rounded_plainly():
    """An input that was zero in all texts has nothing to make up for: its weights become their nearest integers."""
    weights, tokens = random_weights(1, (80, 16)), correlated_tokens(2, 400, 80)
    silent = [0, 33, 64, 79]
    tokens[:, silent] = 0
    scales = step_sizes(weights, 127)

    integers = round_weights(weights, tokens.T @ tokens, scales, 127)

    np.testing.assert_array_equal(integers[silent], plain(weights, scales)[silent])
    error = squared_error(tokens, weights, integers, scales)
    assert error < squared_error(tokens, weights, plain(weights, scales), scales)


def test_no_activations_at_all_mean_plain_rounding():
    """A gram of zeros, from a site that was silent in all texts, gives the nearest integers."""
    weights = random_weights(1, (80, 16))
    scales = step_sizes(weights, 127)

    integers = round_weights(weights, np.zeros((80, 80)), scales, 127)

    np.testing.assert_array_equal(integers, plain(weights, scales))


def test_output_without_weights_is_zero():
    """A column of zeros becomes zeros beside others, and nothing overflows."""
    weights, tokens = random_weights(1, (40, 8)), correlated_tokens(2, 200, 40)
    weights[:, 3] = 0

    integers = round_weights(weights, tokens.T @ tokens, step_sizes(weights, 127), 127)

    assert (integers[:, 3] == 0).all()
    assert integers.any(axis=0).sum() == 7


def test_same_input_gives_the_same_integers():
    """Rounding draws nothing by chance, and leaves the weights that it was given alone."""
    weights, tokens = random_weights(1, (150, 32)), correlated_tokens(2, 400, 150)
    before, scales = weights.copy(), step_sizes(weights, 127)

    first, second = (round_weights(weights, tokens.T @ tokens, scales, 127) for _ in range(2))

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(weights, before)
