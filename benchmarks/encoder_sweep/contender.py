"""The contenders of the sweep: the same weights on one device, with so many threads each."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.cuda import held_memory_mb
from benchmarks.encoder.material import trace_default_model
from benchmarks.encoder.torch_model import load_torch
from benchmarks.encoder_sweep.peak import FP16, FP32, U8S8
from benchmarks.encoder_sweep.sequence import cut_sequences
from benchmarks.served import default_model
from recwire_server.encoder import Purpose
from recwire_server.encoder.device import Device
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.encoder.padding import padded
from recwire_server.encoder.session import load_session
from recwire_server.model.fidelity import Run
from recwire_server.model.recipe import Precision
from recwire_server.model.source import resolve_source
from recwire_server.setting_source import load_settings

INT8, PLAIN = "recwire int8", "ONNX Runtime fp32"


@dataclass(frozen=True)
class Model:
    """A way to run sequences. peak_kind: the products that its time is compared with. prepare: done before each of
    its rounds."""

    run: Run
    device: Device
    peak_kind: str
    threads: int
    prepare: Callable[[], object] = lambda: None


@dataclass
class LineUp:
    """Who is compared.

    graph: one whose products can be counted. sequences: token ids of texts, cut at the model's limit. models: by name;
    not_measured: why not, by name; held_mb: the GPU's memory that each holds after its largest batch, by name.
    """

    graph: Path
    sequences: Sequence[Sequence[int]]
    models: dict[str, list[Model]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    held_mb: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, make: Callable[[int], Model], threads: Sequence[int]) -> None:
        """Add a contender with each number of threads, or why there is none."""
        Console(stderr=True).print(f"make {name}")
        try:
            self.models[name] = [make(count) for count in threads]
        except ImportError as error:
            self.not_measured[name] = f"{error}; pip install -c constraints.txt -e 'server[export,minilm]'"


@contextmanager
def line_up(
    device: Device, texts: Sequence[str], threads: Sequence[int], max_batch: int, max_length: int
) -> Iterator[LineUp]:
    """Make all contenders for the length of the block. max_batch, max_length: the largest that is asked of them."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if device is Device.CUDA:
        yield _on_cuda(texts, max_batch, max_length)
        return
    with trace_default_model([], load_settings({}).cache_dir) as material:
        lined_up = LineUp(material.pooled, material.token_ids(texts))
        for precision, peak_kind in ((Precision.FP32, FP32), (Precision.INT8, U8S8), (Precision.INT8_DYNAMIC, U8S8)):
            lined_up.add(f"recwire {precision.value}", partial(_recwire, precision, device, peak_kind), threads)
        lined_up.add(PLAIN, partial(_onnx_runtime, material.pooled), threads)
        lined_up.add("torch fp32", partial(_torch, device, False), threads)
        yield lined_up


def _on_cuda(texts: Sequence[str], max_batch: int, max_length: int) -> LineUp:
    """The sessions of recwire are made as its server makes them: a session that falls back to the CPU is an error."""
    fp16 = default_model(Precision.FP16)
    tokenized = OnnxEncoder.load(fp16).tokenize(texts, Purpose.DOCUMENT)
    lined_up = LineUp(fp16 / "model.onnx", [text.head for text in tokenized])
    makers: Mapping[str, Callable[[int], Model]] = {
        "recwire fp16": partial(_recwire, Precision.FP16, Device.CUDA, FP16),
        "recwire fp32": partial(_recwire, Precision.FP32, Device.CUDA, FP32),
        "torch fp16": partial(_torch, Device.CUDA, True),
        "torch fp32": partial(_torch, Device.CUDA, False),
        f"{INT8}, CPU": partial(_recwire, Precision.INT8, Device.CPU, U8S8),
    }
    largest = cut_sequences(lined_up.sequences, max_batch, max_length)
    for name, make in makers.items():
        before_mb = held_memory_mb()
        lined_up.add(name, make, [1])
        lined_up.models[name][0].run(largest)
        lined_up.held_mb[name] = held_memory_mb() - before_mb
    return lined_up


def _recwire(precision: Precision, device: Device, peak_kind: str, threads: int) -> Model:
    return Model(OnnxEncoder.load(default_model(precision), device, threads).run, device, peak_kind, threads)


def _onnx_runtime(graph: Path, threads: int) -> Model:
    session = load_session(graph, Device.CPU, threads)
    return Model(lambda sequences: session.run(["embedding"], padded(sequences))[0], Device.CPU, FP32, threads)


def _torch(device: Device, half: bool, threads: int) -> Model:
    import torch

    run = load_torch(resolve_source(None).folder, device, half)
    return Model(run, device, FP16 if half else FP32, threads, partial(torch.set_num_threads, threads))
