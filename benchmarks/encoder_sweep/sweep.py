"""The benchmark: peaks first, then every cell, all contenders in the rounds of each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np
from rich.console import Console

from benchmarks.cuda import describe_gpu, multiply_as_onnx_runtime, require
from benchmarks.encoder.sample import SEED, draw_sample
from benchmarks.encoder_sweep.contender import LineUp, Model, line_up
from benchmarks.encoder_sweep.operations import count_operations
from benchmarks.encoder_sweep.peak import Peak, measure_cpu_peaks, measure_cuda_peaks
from benchmarks.encoder_sweep.sequence import cut_sequences
from benchmarks.environment import installed_version
from benchmarks.measurement import Contender, Measurement, measure
from recwire_server.encoder.device import Device

PACKAGES = ("torch", "transformers", "optimum-onnx")
WARM_UP_CALLS = 1  # beside the one before each round


@dataclass(frozen=True)
class Size:
    """How much is measured; the default takes about 6 minutes on two cores.

    texts: of each catalogue, whose tokens are used. round_tokens: what a contender runs in a round of a cell, in at
    least one call and at most max_calls.
    """

    lengths: Sequence[int] = (8, 16, 32, 64, 128, 256)
    batches: Sequence[int] = (1, 4, 8, 32)
    threads: Sequence[int] = (1, 2)
    texts: int = 300
    rounds: int = 5
    round_tokens: int = 1024
    max_calls: int = 16

    def calls(self, length: int, batch: int) -> int:
        """Return the calls of a contender in a round."""
        return min(max(1, self.round_tokens // (length * batch)), self.max_calls)


SIZES: Mapping[tuple[Device, bool], Size] = {  # by whether it is the quick one
    (Device.CPU, False): Size(),
    (Device.CPU, True): Size(lengths=(16, 128), batches=(1, 8), texts=100, rounds=2, max_calls=2),
    (Device.CUDA, False): Size(batches=(1, 4, 8, 32, 128), threads=(1,), max_calls=50),
    (Device.CUDA, True): Size(lengths=(8, 128), batches=(1, 8), threads=(1,), texts=100, rounds=2, max_calls=4),
}


class Result(TypedDict):
    """What is kept, ready for JSON.

    gflop_a_text: the model's operations in matrix products by length, in thousand millions. peaks: as `peak.Peak`;
    cells: as `Cell`. not_measured: why, by contender. gpu: as cuda.describe_gpu, and `held_mb`, the GPU's memory that
    each contender holds once it has run its largest batch; None on the CPU.
    """

    device: str
    data: str
    seed: int
    rounds: int
    packages: dict[str, str | None]
    gflop_a_text: dict[str, float]
    peaks: list[dict[str, Any]]
    cells: list[dict[str, Any]]
    not_measured: dict[str, str]
    gpu: dict[str, Any] | None


@dataclass(frozen=True)
class Cell:
    """A contender's calls with one batch of texts of one length. texts_per_s: a batch by the median call, and its
    quartiles over the rounds' medians. peak_share: the model's operations a second by the peak of peak_kind."""

    contender: str
    device: str
    threads: int
    length: int
    batch: int
    call_count: int
    p50_ms: float
    p99_ms: float
    texts_per_s: float
    texts_per_s_quartiles: tuple[float, float]
    peak_kind: str
    peak_share: float


def run(quick: bool, device: Device = Device.CPU) -> Result:
    """Return the result. quick: fewer cells and rounds."""
    require(device)
    size = SIZES[device, quick]
    sample = draw_sample(size=size.texts)
    peaks = measure_peaks(device, size)
    with line_up(device, sample.texts, size.threads, max(size.batches), max(size.lengths)) as lined_up:
        operations = {length: count_operations(lined_up.graph, length) for length in size.lengths}
        cells = sweep(lined_up, size, peaks, operations)
    return make_result(device, sample.data, size, peaks, operations, cells, lined_up)


def measure_peaks(device: Device, size: Size) -> list[Peak]:
    """Return what the device can multiply at best, and the CPU, which is always among the contenders."""
    Console(stderr=True).print("peaks")
    peaks = measure_cpu_peaks(size.threads, size.rounds)
    if device is Device.CPU:
        return peaks
    multiply_as_onnx_runtime()
    return peaks + measure_cuda_peaks(size.rounds)


def sweep(lined_up: LineUp, size: Size, peaks: Sequence[Peak], operations: Mapping[int, int]) -> list[Cell]:
    """Return the cells. operations: of one text, by length."""
    gops = {(peak.device, peak.kind, peak.threads): peak.gops for peak in peaks}
    cells = []
    for length in size.lengths:
        for batch in size.batches:
            Console(stderr=True).print(f"{length} tokens, batches of {batch}")
            sequences = cut_sequences(lined_up.sequences, batch, length)
            contenders = {
                (name, model): _contender(model, sequences)
                for name, models in lined_up.models.items()
                for model in models
            }
            measured = measure(contenders, size.rounds, size.calls(length, batch), WARM_UP_CALLS)
            for (name, model), measurement in measured.items():
                peak = gops[model.device, model.peak_kind, model.threads]
                cells.append(_cell(name, model, length, batch, measurement, operations[length] * batch, peak))
    return cells


def make_result(
    device: Device,
    data: str,
    size: Size,
    peaks: Sequence[Peak],
    operations: Mapping[int, int],
    cells: Sequence[Cell],
    lined_up: LineUp,
) -> Result:
    """Return the result."""
    return {
        "device": device.value,
        "data": data,
        "seed": SEED,
        "rounds": size.rounds,
        "packages": {name: installed_version(name) for name in PACKAGES},
        "gflop_a_text": {str(length): count / 1e9 for length, count in operations.items()},
        "peaks": [asdict(peak) for peak in peaks],
        "cells": [asdict(cell) for cell in cells],
        "not_measured": lined_up.not_measured,
        "gpu": None if device is Device.CPU else describe_gpu() | {"held_mb": lined_up.held_mb},
    }


def _contender(model: Model, sequences: Sequence[Sequence[int]]) -> Contender:
    def prepare() -> None:
        model.prepare()
        model.run(sequences)  # brings the weights back into the caches, from which another contender has driven them

    return Contender(lambda: model.run(sequences), time.process_time, prepare)


def _cell(
    name: str, model: Model, length: int, batch: int, measurement: Measurement, operations: int, peak_gops: float
) -> Cell:
    low_ms, high_ms = np.percentile(measurement.rounds_p50_ms, [25, 75])
    return Cell(
        contender=name,
        device=model.device.value,
        threads=model.threads,
        length=length,
        batch=batch,
        call_count=measurement.call_count,
        p50_ms=measurement.p50_ms,
        p99_ms=measurement.p99_ms,
        texts_per_s=round(1e3 * batch / measurement.p50_ms, 1),
        texts_per_s_quartiles=(round(1e3 * batch / high_ms, 1), round(1e3 * batch / low_ms, 1)),
        peak_kind=model.peak_kind,
        peak_share=round(operations / measurement.p50_ms / 1e6 / peak_gops, 4),
    )
