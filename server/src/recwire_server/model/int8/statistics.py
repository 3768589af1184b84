"""What flows through a graph when it reads texts like those that it will embed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from recwire_server.encoder.padding import padded
from recwire_server.model.int8.site import Floats, Site

MAX_BATCH_SIZE = 8
# Enough that the choice of a scaling does not change with the draw, few enough that it takes seconds.
SAMPLE_TOKENS = 1_500


@dataclass
class SiteStatistics:
    """Of the activations of a site, over all tokens of the texts.

    gram: (inputs, inputs) float64, the sum of x x^T. channel_max: (inputs,) the largest size. sample: (tokens, inputs)
    of tokens drawn evenly.
    """

    gram: NDArray[np.float64]
    channel_max: Floats
    sample: Floats


@dataclass
class _Collector:
    gram: NDArray[np.float64] | float = 0.0
    channel_max: Floats | float = 0.0
    sample: list[Floats] = field(default_factory=list)

    def add(self, tokens: Floats, sampled_share: float, random: np.random.Generator) -> None:
        self.gram = self.gram + (tokens.T @ tokens).astype(np.float64)
        self.channel_max = np.maximum(self.channel_max, np.abs(tokens).max(axis=0))
        self.sample.append(tokens[random.random(len(tokens)) < sampled_share])


def collect_statistics(
    model: onnx.ModelProto, sites: Sequence[Site], sequences: Sequence[Sequence[int]], seed: int
) -> list[SiteStatistics]:
    """Return the statistics of each site, in order. The same seed gives the same sample.

    model: input_ids and attention_mask in. sequences: token ids, special tokens included.
    """
    session = _observed(model, sites)
    names = [site.activations for site in sites]
    collectors = [_Collector() for _ in sites]
    random = np.random.default_rng(seed)
    share = min(1.0, SAMPLE_TOKENS / sum(map(len, sequences)))
    ordered = sorted(sequences, key=len)
    for start in range(0, len(ordered), MAX_BATCH_SIZE):
        feeds = padded(ordered[start : start + MAX_BATCH_SIZE])
        real = feeds["attention_mask"].astype(bool)
        for collector, activations in zip(collectors, session.run(names, feeds), strict=True):
            # Decoders reach their Gemms with batch and sequence as one axis.
            collector.add(activations.reshape(*real.shape, -1)[real], share, random)
    return [
        SiteStatistics(np.asarray(one.gram), np.asarray(one.channel_max, np.float32), np.concatenate(one.sample))
        for one in collectors
    ]


def _observed(model: onnx.ModelProto, sites: Sequence[Site]) -> onnxruntime.InferenceSession:
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    outputs = {output.name for output in observed.graph.output}
    observed.graph.output.extend(
        helper.make_tensor_value_info(site.activations, TensorProto.FLOAT, None)
        for site in sites
        if site.activations not in outputs
    )
    return onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
