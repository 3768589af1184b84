"""The benchmark: makes the contenders, measures all of them on the same texts, tells what is missing."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, TypedDict

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from benchmarks.cuda import require
from benchmarks.encoder.contender import CONTENDERS, FP32, INT8, NAIVE, PLAIN
from benchmarks.encoder.gpu import compare_on_gpu
from benchmarks.encoder.material import Material, trace_default_model
from benchmarks.encoder.quality import measure_nearness, measure_quality, run_alone
from benchmarks.encoder.sample import SEED, draw_sample
from benchmarks.encoder.speed import BATCH_SIZE, SHORT_TOKENS, Task, compare, even_calls, measure_cpu
from benchmarks.encoder.target import targets
from benchmarks.encoder.text_encoder import TextEncoder
from benchmarks.environment import installed_version
from recwire_server.encoder import Vector
from recwire_server.encoder.device import Device
from recwire_server.model.processor import detect_quantization_target
from recwire_server.setting_source import load_settings

PACKAGES = ("torch", "transformers", "optimum-onnx", "sentence-transformers", "openvino", "nncf")


@dataclass(frozen=True)
class Texts:
    """What is embedded. sequences: the texts' token ids, cut at max_tokens."""

    texts: Sequence[str]
    sequences: Sequence[Sequence[int]]
    max_tokens: int

    def mean_token_count(self, places: Iterable[int]) -> float:
        """Return the mean over the texts at these places."""
        return round(float(np.mean([len(self.sequences[place]) for place in places])), 1)


@dataclass(frozen=True)
class Size:
    """How much is measured: the default takes 9 minutes of CPU, most of it for the quality.

    texts: of each catalogue. batched_texts: of the sample, also run in batches; promised_batched_texts: of INT8, of
    which it is promised that this makes no difference. singles, batches: that a round embeds, and half as many short
    ones. naive_texts: of the naive loop, to which all are of the same length.
    """

    texts: int = 600
    batched_texts: int = 32
    promised_batched_texts: int = 192
    rounds: int = 15
    singles: int = 16
    batches: int = 4
    naive_texts: int = 2

    def calls(self, texts: Texts) -> dict[str, list[list[int]]]:
        """Return what a round embeds, by kind of calls (see speed.KINDS), as places in the texts."""
        short = {"max_tokens": SHORT_TOKENS}
        return {
            "single": even_calls(texts.sequences, self.singles, 1),
            "batch": even_calls(texts.sequences, self.batches, BATCH_SIZE),
            "short_single": even_calls(texts.sequences, self.singles // 2, 1, **short),
            "short_batch": even_calls(texts.sequences, self.batches // 2, BATCH_SIZE, **short),
        }


QUICK = Size(texts=100, batched_texts=16, promised_batched_texts=64, rounds=3, singles=8, batches=2, naive_texts=1)


class Result(TypedDict):
    """What is kept, ready for JSON.

    mean_token_count, round_text_count: of what each contender embeds in a round, by kind of calls. contenders: by name;
    `quality` as quality.Quality has it; `encode_difference`, the largest absolute difference of any component between
    token ids run alone and a round's batches of texts (more than the batch's own difference would tell of other token
    ids); `speed` by "encode" (texts in) and "run" (token ids in), then by kind of calls, as speed.Speed has it: single
    texts and sorted batches of 8, of all lengths and of at most 32 tokens.
    not_measured: why, by contender. targets: as target.Target has them.
    """

    data: str
    seed: int
    text_count: int
    max_tokens: int
    mean_token_count: dict[str, float]
    round_text_count: dict[str, int]
    rounds: int
    quantization_target: str
    packages: dict[str, str | None]
    contenders: dict[str, dict[str, Any]]
    not_measured: dict[str, str]
    targets: list[dict[str, Any]]


def run(quick: bool, device: Device = Device.CPU) -> Result | dict[str, Any]:
    """Return the result, on a GPU what gpu.compare_on_gpu does. quick: fewer texts and rounds, of which the speed says
    little."""
    require(device)
    # All that libraries would start threads for is done in the one that calls them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    size = QUICK if quick else Size()
    sample = draw_sample(size=size.texts)
    if device is Device.CUDA:
        return compare_on_gpu(sample, quick)
    with (
        threadpool_limits(1),
        trace_default_model(sample.calibration, load_settings({}).cache_dir) as material,
    ):
        import torch  # which the tracer has imported by now

        torch.set_num_threads(1)
        encoders, not_measured = make_encoders(material, CONTENDERS)
        texts = Texts(sample.texts, material.token_ids(sample.texts), material.max_tokens)
        contenders = compare_encoders(encoders, texts, size)
    return make_result(sample.data, texts, size, contenders, not_measured)


def make_encoders(
    material: Material, makers: Mapping[str, Callable[[Material], TextEncoder]]
) -> tuple[dict[str, TextEncoder], dict[str, str]]:
    """Return the contenders that can be made, and of the others why not, both by name."""
    encoders, not_measured = {}, {}
    for name, make in makers.items():
        _report(f"make {name}")
        try:
            encoders[name] = make(material)
        except ImportError as error:
            not_measured[name] = f"{error}; pip install -c constraints.txt -r benchmarks/requirements.txt"
    return encoders, not_measured


def compare_encoders(encoders: Mapping[str, TextEncoder], texts: Texts, size: Size) -> dict[str, dict[str, Any]]:
    """Return what is told of each contender; see Result. encoders: FP32, INT8, PLAIN and others."""
    calls = size.calls(texts)
    naive_calls = {"single": even_calls(texts.sequences, size.naive_texts, 1)}
    calls_by_name = {name: naive_calls if name == NAIVE else calls for name in encoders}
    fp32 = encoders[FP32].run
    assert fp32 is not None, "it takes token ids"
    _report("embed with fp32")
    reference = run_alone(fp32, texts.sequences)
    contenders: dict[str, dict[str, Any]] = {}
    for name, encoder in encoders.items():
        _report(f"quality of {name}")
        batched_texts = size.promised_batched_texts if name == INT8 else size.batched_texts
        if encoder.run is None:
            quality = _quality_of_few(encoder, texts, reference, calls_by_name[name]["single"])
        else:
            alone = reference if name == FP32 else run_alone(encoder.run, texts.sequences)
            quality = _quality(encoder, texts, alone, reference, batched_texts, calls_by_name[name]["batch"])
        contenders[name] = {"note": encoder.note, **quality}
    _report("speed of all")
    for name, speed in _speed(encoders, texts, calls_by_name, size.rounds).items():
        contenders[name]["speed"] = speed
    return contenders


def make_result(
    data: str,
    texts: Texts,
    size: Size,
    contenders: dict[str, dict[str, Any]],
    not_measured: dict[str, str],
) -> Result:
    """Return the result. contenders: as compare_encoders tells of them. not_measured: why, by contender."""
    round_texts = {kind: list(chain(*calls)) for kind, calls in size.calls(texts).items()}
    return {
        "data": data,
        "seed": SEED,
        "text_count": len(texts.texts),
        "max_tokens": texts.max_tokens,
        "mean_token_count": {
            "sample": texts.mean_token_count(range(len(texts.texts))),
            **{kind: texts.mean_token_count(places) for kind, places in round_texts.items()},
        },
        "round_text_count": {kind: len(places) for kind, places in round_texts.items()},
        "rounds": size.rounds,
        "quantization_target": detect_quantization_target(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "contenders": contenders,
        "not_measured": not_measured,
        "targets": [asdict(target) | {"met": target.met} for target in targets(contenders[INT8])],
    }


def _quality(
    encoder: TextEncoder,
    texts: Texts,
    alone: Vector,
    reference: Vector,
    batched_texts: int,
    batches: Sequence[Sequence[int]],
) -> dict[str, Any]:
    assert encoder.run is not None, "else there are only a few vectors"
    quality = measure_quality(encoder.run, alone, reference, texts.sequences, texts.max_tokens, batched_texts)
    differences = [
        np.max(np.abs(encoder.encode([texts.texts[place] for place in batch]) - alone[batch])) for batch in batches
    ]
    return {"quality": asdict(quality), "encode_difference": float(max(differences))}


def _quality_of_few(
    encoder: TextEncoder, texts: Texts, reference: Vector, calls: Sequence[Sequence[int]]
) -> dict[str, Any]:
    some = list(chain(*calls))
    vectors = encoder.encode([texts.texts[place] for place in some])
    return {"quality": asdict(measure_nearness(vectors, reference[some])), "encode_difference": None}


def _speed(
    encoders: Mapping[str, TextEncoder],
    texts: Texts,
    calls_by_name: Mapping[str, Mapping[str, Sequence[Sequence[int]]]],
    rounds: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    tasks = {}
    for name, encoder in encoders.items():
        for kind, calls in calls_by_name[name].items():
            text_count = sum(map(len, calls))
            some_texts = [[texts.texts[place] for place in call] for call in calls]
            tasks[name, "encode", kind] = Task(encoder.encode, some_texts, text_count)
            if encoder.run is not None:
                some_sequences = [[texts.sequences[place] for place in call] for call in calls]
                tasks[name, "run", kind] = Task(encoder.run, some_sequences, text_count)
    cpu_s = measure_cpu(tasks, rounds)
    naive_cpu_s = cpu_s.get((NAIVE, "encode", "single"))  # it pads all alike and has no batches
    speed: dict[str, dict[str, dict[str, Any]]] = {}
    for (name, way, kind), of_task in cpu_s.items():
        compared = compare(of_task, cpu_s[PLAIN, way, kind], naive_cpu_s)
        speed.setdefault(name, {}).setdefault(way, {})[kind] = asdict(compared)
    return speed


def _report(step: str) -> None:
    Console(stderr=True).print(step)
