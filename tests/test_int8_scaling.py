"""How a site's activations and weights share the range of int8."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from recwire_server.model.int8.scaling import (
    COMPENSATED_ERROR,
    EXPONENTS,
    ZERO_POINTS,
    Scaling,
    choose_scaling,
    row_scales,
)
from recwire_server.model.int8.site import Projection, Site
from recwire_server.model.int8.statistics import SiteStatistics

INPUTS, OUTPUTS, TOKENS = 40, 24, 300


def make_site(weights: np.ndarray) -> Site:
    return Site("x", [Projection("y", weights, bias="")])


def make_statistics(tokens: np.ndarray) -> SiteStatistics:
    return SiteStatistics(tokens.T.astype(np.float64) @ tokens, np.abs(tokens).max(axis=0), tokens)


def random_weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)


def symmetric_tokens(seed: int = 1) -> np.ndarray:
    """Activations on both sides of zero, as behind a layer norm."""
    return np.random.default_rng(seed).normal(size=(TOKENS, INPUTS)).astype(np.float32)


def gelu_tokens(seed: int = 1) -> np.ndarray:
    """Activations of which few are below zero, and little: at least -.17."""
    tokens = 2 * symmetric_tokens(seed)
    return tokens / (1 + np.exp(-1.702 * tokens))


def outlier_tokens(seed: int = 1) -> np.ndarray:
    """Activations of which two channels are 50 times as large as the others, as in trained transformers."""
    tokens = symmetric_tokens(seed)
    tokens[:, [3, 17]] *= 50
    return tokens


TOKENS_OF_KINDS = {"symmetric": symmetric_tokens, "gelu": gelu_tokens, "outliers": outlier_tokens}
every_kind = pytest.mark.parametrize("make_tokens", TOKENS_OF_KINDS.values(), ids=TOKENS_OF_KINDS)
every_range = pytest.mark.parametrize("levels", [127, 63])


def errors(tokens: np.ndarray, weights: np.ndarray, scaling: Scaling) -> tuple[float, float]:
    """The squared error of the product that rounding leaves in it, of the weights alone and of the tokens alone."""
    smoothing, zero_point = scaling.smoothing.astype(np.float64), scaling.zero_point
    smooth_tokens, smooth_weights = tokens / smoothing, weights * smoothing[:, np.newaxis]
    exact = tokens.astype(np.float64) @ weights
    rounded_weights = np.rint(smooth_weights / scaling.weight_scales) * scaling.weight_scales
    steps = np.maximum(smooth_tokens.max(axis=1) / (255 - zero_point), -smooth_tokens.min(axis=1) / zero_point)
    rounded_tokens = np.rint(smooth_tokens / steps[:, np.newaxis]) * steps[:, np.newaxis]
    return (
        float(np.sum((smooth_tokens @ rounded_weights - exact) ** 2)),
        float(np.sum((rounded_tokens @ smooth_weights - exact) ** 2)),
    )


def candidate(tokens: np.ndarray, weights: np.ndarray, exponent: float, zero_point: int, levels: int) -> Scaling:
    """SmoothQuant's scaling, of a geometric mean of 1."""
    channel_max, weight_max = np.abs(tokens).max(axis=0), np.abs(weights).max(axis=1)
    channel_max = np.maximum(channel_max, np.median(channel_max))
    smoothing = channel_max**exponent / weight_max ** (1 - exponent)
    smoothing = smoothing / np.exp(np.log(smoothing).mean())
    return Scaling(smoothing, zero_point, np.abs(weights * smoothing[:, np.newaxis]).max(axis=0) / levels)


@every_range
@every_kind
def test_chosen_scaling_is_the_best_candidate(make_tokens, levels):
    """No exponent and no zero point leaves a smaller error in the result than the chosen ones, to rounding."""
    tokens, weights = make_tokens(), random_weights()

    chosen = choose_scaling(make_site(weights), make_statistics(tokens), levels)

    def error(scaling: Scaling) -> float:
        of_weights, of_tokens = errors(tokens, weights, scaling)
        return COMPENSATED_ERROR * of_weights + of_tokens

    candidates = product(EXPONENTS, ZERO_POINTS)
    least = min(error(candidate(tokens, weights, *one, levels)) for one in candidates)
    assert error(chosen) == pytest.approx(least, rel=1e-3)


@every_kind
def test_smoothing_keeps_the_exact_product(make_tokens):
    """What the channels are divided by, the weights are multiplied with: the product stays as it was."""
    tokens, weights = make_tokens(), random_weights()

    smoothing = choose_scaling(make_site(weights), make_statistics(tokens), 127).smoothing

    product_of_both = (tokens / smoothing) @ (weights * smoothing[:, np.newaxis])
    np.testing.assert_allclose(product_of_both, tokens @ weights, atol=1e-5 * np.abs(tokens @ weights).max())


@every_range
@every_kind
def test_weights_fill_their_range(make_tokens, levels):
    """Each output's largest weight is the largest integer: no step is wider than it must be, none clips."""
    tokens, weights = make_tokens(), random_weights()

    scaling = choose_scaling(make_site(weights), make_statistics(tokens), levels)

    integers = np.rint(weights * scaling.smoothing[:, np.newaxis] / scaling.weight_scales)
    np.testing.assert_array_equal(np.abs(integers).max(axis=0), np.full(OUTPUTS, levels))


def test_large_channels_do_not_cost_the_others_their_precision():
    """Beside channels that are large for all tokens, smoothing leaves a tenth of the error without it."""
    tokens, weights = outlier_tokens(), random_weights()
    unsmoothed = Scaling(np.ones(INPUTS), 128, np.abs(weights).max(axis=0) / 127)

    chosen = choose_scaling(make_site(weights), make_statistics(tokens), 127)

    assert sum(errors(tokens, weights, chosen)) < 0.1 * sum(errors(tokens, weights, unsmoothed))


def test_activations_on_both_sides_of_zero_get_its_middle():
    """Zero lies in the middle of the range where values lie on both sides of it."""
    chosen = choose_scaling(make_site(random_weights()), make_statistics(symmetric_tokens()), 127)

    assert chosen.zero_point == 128


def test_activations_behind_gelu_get_more_room_above_zero():
    """Where few values are below zero, most of the range lies above it, and the tokens' error shrinks."""
    tokens, weights = gelu_tokens(), random_weights()

    chosen = choose_scaling(make_site(weights), make_statistics(tokens), 127)

    assert chosen.zero_point < 128
    middle = Scaling(chosen.smoothing, 128, chosen.weight_scales)
    assert errors(tokens, weights, chosen)[1] < 0.7 * errors(tokens, weights, middle)[1]


@settings(deadline=None)
@given(
    tokens=st_numpy.arrays(
        np.float32, (4, 7), elements=st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False)
    ),
    zero_point=st.sampled_from(ZERO_POINTS),
)
def test_every_token_fits_its_bytes(tokens, zero_point):
    """In its own step every token's values lie in 0-255, and one of them at an end unless all are zero."""
    steps = row_scales(tokens, zero_point)

    integers = np.rint(tokens / steps) + zero_point
    assert steps.shape == (4, 1)
    assert integers.min() >= 0
    assert integers.max() <= 255
    speaking = np.abs(tokens).max(axis=1) > 1e-9
    assert ((integers == 0) | (integers == 255)).any(axis=1)[speaking].all()
    assert (integers[(tokens == 0).all(axis=1)] == zero_point).all()


@pytest.mark.parametrize("silent_share", [0.05, 0.7])
def test_channel_that_was_silent_may_speak(silent_share):
    """Channels that were zero in all calibration texts may be of usual size in another: its result keeps to 3 %."""
    tokens, weights = symmetric_tokens(), random_weights()
    tokens[:, : round(silent_share * INPUTS)] = 0

    scaling = choose_scaling(make_site(weights), make_statistics(tokens), 127)

    others = symmetric_tokens(seed=2)
    exact = others @ weights
    for error in errors(others, weights, scaling):
        assert np.sqrt(error) < 0.03 * np.linalg.norm(exact)


@pytest.mark.parametrize("silenced", ["tokens", "weights", "one output"])
def test_zeros_scale_to_numbers(silenced):
    """A site without activations, without weights or with an output of zeros has a finite, positive scaling."""
    tokens, weights = symmetric_tokens(), random_weights()
    {"tokens": tokens, "weights": weights, "one output": weights[:, 3:4]}[silenced][:] = 0

    scaling = choose_scaling(make_site(weights), make_statistics(tokens), 127)

    for values in (scaling.smoothing, scaling.weight_scales):
        assert np.isfinite(values).all()
        assert (values > 0).all()
