"""How activations and weights share the range of int8.

Smoothing (Xiao et al. 2022, SmoothQuant) divides each channel of the activations by a constant and multiplies the
weights that read it by the same: channels that are large for all tokens no longer cost the others their precision. Its
exponent, and where zero lies in the range of a token's activations (behind GELU few values are below it), are chosen
for each site by the error that they leave in the site's result.
"""

from dataclasses import dataclass

import numpy as np

from recwire_server.model.int8.site import Floats, Site
from recwire_server.model.int8.statistics import SiteStatistics

EXPONENTS = (0.5, 0.6, 0.7, 0.8)
# Of 0-255. 128 suits activations on both sides of zero.
ZERO_POINTS = (128, 96, 80, 64)
# Rounding with compensation (`rounding`) leaves this share of the weights' squared error, measured 4 dB below plain
# rounding.
COMPENSATED_ERROR = 10**-0.4


@dataclass(frozen=True)
class Scaling:
    """How a site is quantized.

    smoothing: (inputs,) what each channel of the activations is divided by. zero_point: 1-254, the integer that stands
    for 0. weight_scales: (outputs,) the size of one step of each output's smoothed weights.
    """

    smoothing: Floats
    zero_point: int
    weight_scales: Floats


def choose_scaling(site: Site, statistics: SiteStatistics, weight_levels: int) -> Scaling:
    """Return the scaling with the least squared error in the site's result over the sampled tokens.

    weight_levels: the largest integer that a weight may become, 127 or less.
    """
    weights, tokens = site.weights, statistics.sample
    exact = tokens @ weights
    best, least_error = None, np.inf
    for exponent in EXPONENTS:
        smoothing = _smoothing(statistics.channel_max, weights, exponent)
        smooth_tokens, smooth_weights = tokens / smoothing, weights * smoothing[:, np.newaxis]
        scales = _weight_scales(smooth_weights, weight_levels)
        rounded = np.rint(smooth_weights / scales) * scales
        weight_error = COMPENSATED_ERROR * float(np.sum((smooth_tokens @ rounded - exact) ** 2))
        for zero_point in ZERO_POINTS:
            result = _rounded_tokens(smooth_tokens, zero_point) @ smooth_weights
            error = weight_error + float(np.sum((result - exact) ** 2))
            if error < least_error:
                best, least_error = Scaling(smoothing, zero_point, scales), error
    assert best is not None, "an error is a number"
    return best


def row_scales(tokens: Floats, zero_point: int) -> Floats:
    """Return the step of each token's integers, (tokens, 1): the least that keeps all its channels in 0-255."""
    highest, lowest = tokens.max(axis=1, keepdims=True), tokens.min(axis=1, keepdims=True)
    scales: Floats = np.maximum(np.maximum(highest / (255 - zero_point), -lowest / zero_point), np.float32(1e-12))
    return scales


def _smoothing(channel_max: Floats, weights: Floats, exponent: float) -> Floats:
    # A channel that was silent in these texts may speak in others, where its smoothing must not blow it up.
    sizes = np.maximum(channel_max, max(float(np.median(channel_max)), 1e-5))
    weight_sizes = np.maximum(np.abs(weights).max(axis=1), 1e-5)
    smoothing = sizes**exponent / weight_sizes ** (1 - exponent)
    # Its mean size changes nothing but float32's own range.
    centred: Floats = (smoothing / np.exp(np.mean(np.log(smoothing)))).astype(np.float32)
    return centred


def _weight_scales(weights: Floats, levels: int) -> Floats:
    scales: Floats = np.maximum(np.abs(weights).max(axis=0) / levels, 1e-12).astype(np.float32)
    return scales


def _rounded_tokens(tokens: Floats, zero_point: int) -> Floats:
    scales = row_scales(tokens, zero_point)
    rounded: Floats = np.clip(np.rint(tokens / scales), -zero_point, 255 - zero_point) * scales
    return rounded
