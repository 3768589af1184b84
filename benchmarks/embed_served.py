"""embed_served: Embed over gRPC beside another server of embeddings over HTTP, each as it is served.

recwire in int8 and in fp32, infinity-emb on torch and on ONNX Runtime (its engine `optimum`), with the same
weights. All servers share one core, one of them at work at a time, and the client has another. Real texts, none so long
that it is cut, one at a time, in batches of 8, and one each of 8 calls in flight; no cache of embeddings knows them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
import numpy as np
from rich.console import Console, Group
from rich.table import Table

from benchmarks.encoder.material import trace_default_model
from benchmarks.encoder.sample import SEED, draw_sample
from benchmarks.infinity import InfinityClient, InfinityError, find_python, infinity, installed_versions
from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.served import PATIENT, Served, default_model, pinned, served
from recwire import from_bytes
from recwire.v1.recommender_service_pb2 import EMBED_PURPOSE_DOCUMENT, EmbedRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.encoder import Purpose, Vector
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.recipe import Precision
from recwire_server.setting_source import load_settings

BATCH_SIZE = 8
REFERENCE_TEXTS = 32
RECWIRE, INFINITY = ("int8", "fp32"), ("torch", "optimum")
FLAGS = ("--encoder-thread-count", "1", "--embedding-cache-bytes", "0", *PATIENT)  # infinity-emb refuses nothing
KINDS = {"single": "one text a call", "batch": "8 texts a call", "in_flight": "8 calls of one text in flight"}

Embed = Callable[[Sequence[str]], Vector]


@dataclass(frozen=True)
class Rival:
    """A server and a way to call it."""

    server: Served
    embed: Embed


@dataclass
class Started:
    """The servers that can be had, and of the others why not, both by name; the versions of infinity-emb's packages."""

    rivals: dict[str, Rival] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    infinity_packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """How much is measured; the default takes about 5 minutes. calls: of each kind in a round, a text or 8 each."""

    texts: int = 300
    rounds: int = 15
    calls: int = 10


QUICK = Size(texts=100, rounds=2, calls=2)


class Result(TypedDict):
    """What is kept, ready for JSON.

    servers: by name, `mean_cosine` and `min_cosine` to recwire's fp32 in this process, of reference_text_count texts;
    `calls` by kind, as `_figures` tells them. not_measured: why, by server.
    """

    data: str
    seed: int
    rounds: int
    batch_size: int
    server_cores: int
    infinity_packages: dict[str, str]
    reference_text_count: int
    servers: dict[str, dict[str, Any]]
    not_measured: dict[str, str]


def run(quick: bool) -> Result:
    """Return the result. quick: few calls."""
    size = QUICK if quick else Size()
    sample = draw_sample(size=size.texts)
    fp32 = OnnxEncoder.load(default_model(Precision.FP32))
    texts = short_enough(sample.texts, fp32)
    reference = _embed_alone(fp32, texts[:REFERENCE_TEXTS])
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as exit_stack:
        with pinned(cores[0]):
            started = start_servers(exit_stack)
        with pinned(cores[-1]):
            servers = compare(started.rivals, texts, reference, size)
    return {
        "data": sample.data,
        "seed": SEED,
        "rounds": size.rounds,
        "batch_size": BATCH_SIZE,
        "server_cores": 1,
        "infinity_packages": started.infinity_packages,
        "reference_text_count": len(reference),
        "servers": servers,
        "not_measured": started.not_measured,
    }


def short_enough(texts: Sequence[str], encoder: OnnxEncoder) -> list[str]:
    """Return the texts that no server has to cut: infinity-emb cuts at other lengths than recwire."""
    tokenized = encoder.tokenize(texts, Purpose.DOCUMENT)
    return [text for text, tokens in zip(texts, tokenized, strict=True) if len(tokens.head) < encoder.max_tokens]


def start_servers(exit_stack: ExitStack) -> Started:
    """Return the servers, which end with the exit stack."""
    folder = Path(exit_stack.enter_context(TemporaryDirectory(prefix="recwire-embed-served-")))
    started = Started()
    for precision in RECWIRE:
        server = exit_stack.enter_context(served(folder / precision, "--precision", precision, *FLAGS))
        channel = exit_stack.enter_context(grpc.insecure_channel(server.address))
        started.rivals[f"recwire {precision}"] = Rival(server, partial(embed, RecommenderServiceStub(channel)))
    engines = {f"infinity-emb, {engine}": engine for engine in INFINITY}
    try:
        python = find_python()
    except InfinityError as error:
        return replace(started, not_measured=dict.fromkeys(engines, str(error)))
    started.infinity_packages = installed_versions(python)
    material = exit_stack.enter_context(trace_default_model([], load_settings({}).cache_dir))
    for name, engine in engines.items():
        Console(stderr=True).print(f"start {name}")
        log = folder / f"{engine}.log"
        try:
            server = exit_stack.enter_context(infinity(python, material.folder_with_graph(), engine, log))
        except InfinityError as error:
            started.not_measured[name] = str(error)
        else:
            started.rivals[name] = Rival(server, InfinityClient(server.address, BATCH_SIZE).embed)
    return started


def compare(
    rivals: Mapping[str, Rival], texts: Sequence[str], reference: Vector, size: Size
) -> dict[str, dict[str, Any]]:
    """Return what is told of each server; see Result. reference: the vectors of the first texts."""
    contenders = {}
    with ThreadPoolExecutor(BATCH_SIZE) as threads:
        for kind in KINDS:
            for name, rival in rivals.items():
                call = _call(rival.embed, kind, cycle(texts), threads)
                contenders[name, kind] = Contender(call, rival.server.threads_cpu_s, call)
        measured = measure(contenders, size.rounds, size.calls, warm_up_calls=1)
    told: dict[str, dict[str, Any]] = {}
    for name, rival in rivals.items():
        vectors = np.concatenate([rival.embed([text]) for text in texts[: len(reference)]])
        cosines = np.sum(vectors * reference, axis=1)
        told[name] = {
            "mean_cosine": round(float(np.mean(cosines)), 6),
            "min_cosine": round(float(np.min(cosines)), 6),
            "calls": {kind: _figures(kind, measured[name, kind]) for kind in KINDS},
        }
    return told


def table(result: Result) -> Group:
    """Return the figures for people."""
    title = f"embed_served, one core each way: {result['data']}"
    shown = Table("server", "calls", "texts/s", "p50 ms", "p99 ms", "CPU ms a text", "mean cosine", title=title)
    for name, server in result["servers"].items():
        for kind, call in server["calls"].items():
            times = (f"{call['p50_ms']:.2f}", f"{call['p99_ms']:.2f}", f"{call['cpu_ms_a_text']:.2f}")
            cosine = f"{server['mean_cosine']:.5f}"
            shown.add_row(name, KINDS[kind], f"{call['texts_per_s']:.0f}", *times, cosine)
    return Group(shown, *(f"Not measured: {name}: {reason}." for name, reason in result["not_measured"].items()))


def embed(stub: RecommenderServiceStub, texts: Sequence[str]) -> Vector:
    """Return the vectors of texts by recwire, (len(texts), dim)."""
    request = EmbedRequest(texts=texts, purpose=EMBED_PURPOSE_DOCUMENT)
    return np.stack([from_bytes(one.vector) for one in stub.Embed(request).embeddings])


def _call(embed: Embed, kind: str, texts: Iterator[str], threads: ThreadPoolExecutor) -> Callable[[], object]:
    """Return one call of a kind, with the next texts; of `in_flight` it is done when all of its calls are."""

    def call() -> None:
        some = list(islice(texts, 1 if kind == "single" else BATCH_SIZE))
        if kind == "in_flight":
            list(threads.map(embed, [[text] for text in some]))
        else:
            embed(some)

    return call


def _figures(kind: str, measurement: Measurement) -> dict[str, Any]:
    """Return a `measurement.Measurement`, with texts a second by the median call, their quartiles over the rounds'
    medians, and the server's CPU of a text."""
    count = 1 if kind == "single" else BATCH_SIZE
    low_ms, high_ms = np.percentile(measurement.rounds_p50_ms, [25, 75])
    return asdict(measurement) | {
        "texts_per_s": round(1e3 * count / measurement.p50_ms, 1),
        "texts_per_s_quartiles": [round(1e3 * count / high_ms, 1), round(1e3 * count / low_ms, 1)],
        "cpu_ms_a_text": round(measurement.cpu_ms / count, 4),
    }


def _embed_alone(encoder: OnnxEncoder, texts: Sequence[str]) -> Vector:
    return np.stack([one.vector for one in encode(encoder, texts, Purpose.DOCUMENT)])
