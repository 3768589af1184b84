"""The benchmark on a GPU: recwire's fp16 beside torch's, and beside recwire's int8 on one core of the CPU."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.cuda import describe_gpu, held_memory_mb
from benchmarks.encoder.contender import of_onnx_encoder
from benchmarks.encoder.quality import measure_quality, run_alone
from benchmarks.encoder.sample import SEED, Sample
from benchmarks.encoder.speed import BATCH_SIZE, SHORT_TOKENS, even_calls
from benchmarks.encoder.text_encoder import TextEncoder
from benchmarks.encoder.torch_model import load_torch
from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.served import default_model
from recwire_server.encoder import Purpose
from recwire_server.encoder.device import Device
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.recipe import Precision
from recwire_server.model.source import resolve_source

RIVAL = "torch fp16"
WARM_UP_CALLS = 20  # CUDA chooses its kernels by shape; every round has the same ones


@dataclass(frozen=True)
class Size:
    """How much is measured. calls: of each kind in a round; batched_texts: of the sample, whose quality in batches is
    told too."""

    rounds: int = 15
    calls: int = 40
    batched_texts: int = 192


QUICK = Size(rounds=2, calls=4, batched_texts=16)


def compare_on_gpu(sample: Sample, quick: bool) -> dict[str, Any]:
    """Return the result, ready for JSON.

    contenders: by name, `quality` against recwire's fp32 on the CPU, as quality.Quality has it, and `speed` by kind of
    calls (see speed.KINDS), texts in, as `_speed` tells it. gpu: as cuda.describe_gpu, and `held_mb`, the memory that
    each contender holds in the end.
    """
    size = QUICK if quick else Size()
    reference_encoder = OnnxEncoder.load(default_model(Precision.FP32))
    sequences = [text.head for text in reference_encoder.tokenize(sample.texts, Purpose.DOCUMENT)]
    reference = run_alone(reference_encoder.run, sequences)
    contenders: dict[str, dict[str, Any]] = {}
    encoders: dict[str, TextEncoder] = {}
    held_mb = {}
    for name in ("recwire fp16", RIVAL, "recwire int8, CPU"):
        before_mb = held_memory_mb()
        encoder = encoders[name] = _make(name, reference_encoder)
        assert encoder.run is not None, "all of them take token ids"
        alone = run_alone(encoder.run, sequences)
        max_tokens = reference_encoder.max_tokens
        quality = measure_quality(encoder.run, alone, reference, sequences, max_tokens, size.batched_texts)
        held_mb[name] = held_memory_mb() - before_mb
        contenders[name] = {"note": encoder.note, "quality": asdict(quality), "speed": {}}
    for kind, calls in _calls(sequences, size).items():
        texts = [[sample.texts[place] for place in call] for call in calls]
        for name, speed in _measure(encoders, texts, size.rounds).items():
            contenders[name]["speed"][kind] = speed
    return {
        "device": Device.CUDA.value,
        "data": sample.data,
        "seed": SEED,
        "text_count": len(sequences),
        "max_tokens": reference_encoder.max_tokens,
        "rounds": size.rounds,
        "gpu": describe_gpu() | {"held_mb": held_mb},
        "contenders": contenders,
        "not_measured": {},
    }


def _make(name: str, tokenizer: OnnxEncoder) -> TextEncoder:
    """Return a contender. tokenizer: whose token ids torch gets."""
    if name == RIVAL:
        run = load_torch(resolve_source(None).folder, Device.CUDA, half=True)
        return TextEncoder(lambda texts: run([one.head for one in tokenizer.tokenize(texts, Purpose.DOCUMENT)]), run)
    if name == "recwire fp16":
        return of_onnx_encoder(OnnxEncoder.load(default_model(Precision.FP16), Device.CUDA))
    return of_onnx_encoder(OnnxEncoder.load(default_model(Precision.INT8)), "one core")


def _calls(sequences: Sequence[Sequence[int]], size: Size) -> dict[str, list[list[int]]]:
    return {
        "single": even_calls(sequences, size.calls, 1),
        "batch": even_calls(sequences, size.calls, BATCH_SIZE),
        "short_single": even_calls(sequences, size.calls, 1, SHORT_TOKENS),
        "short_batch": even_calls(sequences, size.calls, BATCH_SIZE, SHORT_TOKENS),
    }


def _measure(
    encoders: Mapping[str, TextEncoder], calls: Sequence[Sequence[str]], rounds: int
) -> dict[str, dict[str, Any]]:
    """Return the speed of each contender with these calls, all of them in every round."""
    contenders = {name: _contender(encoder, cycle(calls)) for name, encoder in encoders.items()}
    # The warm-up takes whole turns, so that every round begins with the first call.
    turns = -(-WARM_UP_CALLS // len(calls))
    measured = measure(contenders, rounds, len(calls), turns * len(calls))
    return {name: _speed(one, measured[RIVAL], len(calls[0])) for name, one in measured.items()}


def _contender(encoder: TextEncoder, calls: Iterator[Sequence[str]]) -> Contender:
    return Contender(lambda: encoder.encode(next(calls)), time.process_time)


def _speed(measurement: Measurement, rival: Measurement, batch_size: int) -> dict[str, Any]:
    """Return a measurement.Measurement, with texts a second by the median call, and how many times those of the rival
    in the same rounds that is: the median and the quartiles."""
    ratios = np.array(rival.rounds_p50_ms) / np.array(measurement.rounds_p50_ms)
    return asdict(measurement) | {
        "texts_per_s": round(1e3 * batch_size / measurement.p50_ms, 1),
        "to_torch": round(rival.p50_ms / measurement.p50_ms, 3),
        "to_torch_quartiles": [round(float(quartile), 3) for quartile in np.percentile(ratios, [25, 75])],
    }
