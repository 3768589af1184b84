"""The whole way from a float32 graph to one in int8."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from recwire_server.model import Report
from recwire_server.model.int8.graph import QuantizedSite, with_integer_sites
from recwire_server.model.int8.mixed_precision import choose_integer_sites
from recwire_server.model.int8.rounding import round_weights
from recwire_server.model.int8.scaling import choose_scaling
from recwire_server.model.int8.site import find_sites
from recwire_server.model.int8.statistics import collect_statistics
from recwire_server.model.manifest import Fidelity, Gate


@dataclass(frozen=True)
class Quantized:
    """A model in int8. float32_layers: the names of the sites that stayed in float32."""

    model: onnx.ModelProto
    float32_layers: list[str]


def quantize_per_token(
    model: onnx.ModelProto,
    sequences: Sequence[Sequence[int]],
    weight_levels: int,
    seed: int,
    gate: Gate,
    measure: Callable[[onnx.ModelProto], Fidelity],
    report: Report,
) -> Quantized:
    """Return the model with its projections in int8, every token with its own scale, near enough to pass the gate.

    model: input_ids and attention_mask in, float32. sequences: token ids to calibrate with; the same ones and the same
    seed give the same model. weight_levels: the largest integer of a weight, 127, or 63 where products of 8 bits
    saturate. measure: compares a model with the original.
    """
    sites = find_sites(model)
    report(f"calibrate {len(sites)} sites with {sum(map(len, sequences)):,} tokens")
    statistics = collect_statistics(model, sites, sequences, seed)
    report("scale and round the weights")
    quantized = []
    for site, of_site in zip(sites, statistics, strict=True):
        scaling = choose_scaling(site, of_site, weight_levels)
        smoothed_gram = of_site.gram / np.outer(scaling.smoothing, scaling.smoothing)
        weights = site.weights * scaling.smoothing[:, np.newaxis]
        integers = round_weights(weights, smoothed_gram, scaling.weight_scales, weight_levels)
        quantized.append(QuantizedSite(site, scaling, integers))
    report("choose what stays in float32")
    chosen = choose_integer_sites(
        quantized,
        passes=lambda some: not gate.shortfalls(measure(with_integer_sites(model, some))),
        cosine=lambda some: measure(with_integer_sites(model, some)).mean_cosine,
    )
    in_int8 = {one.site.name for one in chosen}
    return Quantized(with_integer_sites(model, chosen), [site.name for site in sites if site.name not in in_int8])
