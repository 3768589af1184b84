"""embed_rpc: what a call of Embed takes beside the model in process, alone and in bulk, and beside the naive loop.

A server on one core; on another the client, or whom it is compared with. Alone, a text of 12 tokens: Embed, one and
four in flight, beside the same encoder in this process, an empty call, both in turn (a model of 10 MB between two calls
leaves little of a program in the processor's caches, whoever wrote it), and the naive loop. In bulk: see
embed_throughput.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
from rich.console import Group
from rich.table import Table

from benchmarks.embed_throughput import Throughput, measure_throughput, throughput_table
from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.naive_loop import naive_loop
from benchmarks.served import PATIENT, TEXT, Served, default_encoder, pinned, served
from recwire.v1.recommender_service_pb2 import EmbedRequest
from recwire_server.encoder import Encoder, Purpose
from recwire_server.encoder.device import Device
from recwire_server.encoder.embedding import encode
from recwire_server.load.workload import PATHS, Call
from recwire_server.model.source import resolve_source

OTHER_WORDS = ("walk", "run", "ride", "talk")  # a token each
NAIVE = "naive_loop"
PROMISED_TIMES_NAIVE = 50


@dataclass(frozen=True)
class Size:
    """How much. Many short rounds: where other machines share the processor, its speed changes every second."""

    rounds: int
    calls: int
    warm_up_calls: int
    bulk_rounds: int
    long_texts: int
    short_texts: int


FULL = Size(rounds=24, calls=25, warm_up_calls=20, bulk_rounds=7, long_texts=400, short_texts=1_200)
QUICK = Size(rounds=3, calls=10, warm_up_calls=5, bulk_rounds=2, long_texts=48, short_texts=200)


class Result(TypedDict):
    """What is kept, ready for JSON.

    alone: a measurement by contender, as `measurement.Measurement` has it; of embed_4_in_flight for four texts.
    times_naive: the naive loop's figures by those of Embed; empty without it. not_measured: why, by contender.
    """

    model: str
    device: str
    alone: dict[str, dict[str, Any]]
    cpu_ms_a_text: dict[str, float]
    cpu_ratio_to_limit: dict[str, float]
    cpu_ratio_to_warm_loops: dict[str, float]
    p50_ratio_to_encode: float
    times_naive: dict[str, float]
    throughput: Throughput
    not_measured: dict[str, str]


def run(quick: bool, device: Device) -> Result:
    """Return the result. quick: fewer calls and texts."""
    return measure_embed(QUICK if quick else FULL, device)


def measure_embed(size: Size, device: Device) -> Result:
    """Return the result of a server of its own."""
    cores = sorted(os.sched_getaffinity(0))
    flags = ["--embedding-cache-bytes", "0", "--encoder-thread-count", "1", "--device", device]
    with TemporaryDirectory(prefix="recwire-embed-rpc-") as folder, ExitStack() as exit_stack:
        with pinned(cores[0]):
            server = exit_stack.enter_context(served(Path(folder) / "data", *flags, *PATIENT))
        exit_stack.enter_context(pinned(cores[-1]))
        encoder = default_encoder(device)
        contenders, not_measured = _contenders(server, encoder, device, exit_stack)
        alone = measure(contenders, size.rounds, size.calls, size.warm_up_calls)
        throughput = measure_throughput(server, encoder, device, size.bulk_rounds, size.long_texts, size.short_texts)
    return {
        "model": encoder.model.name,
        "device": device,
        "alone": {name: asdict(measurement) for name, measurement in alone.items()},
        **_told(alone),
        "throughput": throughput,
        "not_measured": not_measured,
    }


def _contenders(
    server: Served, encoder: Encoder, device: Device, exit_stack: ExitStack
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Return who is compared, and why somebody is not."""
    channel = exit_stack.enter_context(grpc.insecure_channel(server.address))
    embed, empty = channel.unary_unary(PATHS[Call.EMBED]), channel.unary_unary(PATHS[Call.EMPTY])
    request = EmbedRequest(texts=[TEXT]).SerializeToString()
    # The same text in flight twice would be encoded once.
    requests = [EmbedRequest(texts=[TEXT.replace("walk", word)]).SerializeToString() for word in OTHER_WORDS]

    def embed_some() -> None:
        for call in [embed.future(request) for request in requests]:
            call.result()

    in_turn = _InTurn(encoder, lambda: empty(b""), server)
    contenders = {
        "encode": Contender(lambda: encode(encoder, [TEXT], Purpose.QUERY), time.process_time),
        "empty_call": Contender(lambda: empty(b""), server.threads_cpu_s),
        "encode_and_empty_call": Contender(in_turn.call, in_turn.cpu_s),
        "embed": Contender(lambda: embed(request), server.threads_cpu_s),
        "embed_4_in_flight": Contender(embed_some, server.threads_cpu_s),
    }
    try:
        naive = naive_loop(resolve_source(None).folder, device)
    except ModuleNotFoundError as error:
        return contenders, {NAIVE: f"{error}: pip install -c constraints.txt 'server[export,minilm]'"}
    return contenders | {NAIVE: Contender(lambda: naive(TEXT), time.process_time)}, {}


class _InTurn:
    """The encoder in this process, then an empty call; of this process's CPU only the encoder's counts."""

    def __init__(self, encoder: Encoder, empty_call: Callable[[], object], server: Served) -> None:
        self._encoder = encoder
        self._empty_call = empty_call
        self._server = server
        self._encode_cpu_s = 0.0

    def call(self) -> None:
        begin_s = time.thread_time()
        encode(self._encoder, [TEXT], Purpose.QUERY)
        self._encode_cpu_s += time.thread_time() - begin_s
        self._empty_call()

    def cpu_s(self) -> float:
        return self._encode_cpu_s + self._server.threads_cpu_s()


def _told(alone: Mapping[str, Measurement]) -> dict[str, Any]:
    """Return the ratios of the calls that were made alone."""
    embed, naive = alone["embed"], alone.get(NAIVE)
    limit_ms = alone["encode_and_empty_call"].cpu_ms
    warm_loops_ms = alone["encode"].cpu_ms + alone["empty_call"].cpu_ms
    cpu_ms = {"embed": embed.cpu_ms, "embed_4_in_flight": alone["embed_4_in_flight"].cpu_ms / len(OTHER_WORDS)}
    return {
        "cpu_ms_a_text": {
            name: round(ms, 4) for name, ms in ({"limit": limit_ms, "warm_loops": warm_loops_ms} | cpu_ms).items()
        },
        "cpu_ratio_to_limit": {name: round(ms / limit_ms, 3) for name, ms in cpu_ms.items()},
        "cpu_ratio_to_warm_loops": {name: round(ms / warm_loops_ms, 3) for name, ms in cpu_ms.items()},
        "p50_ratio_to_encode": round(embed.p50_ms / alone["encode"].p50_ms, 3),
        "times_naive": {}
        if naive is None
        else {"p50": round(naive.p50_ms / embed.p50_ms, 1), "cpu": round(naive.cpu_ms / embed.cpu_ms, 1)},
    }


def table(result: Result) -> Group:
    """Return the figures for people."""
    alone = Table("call", "p50 ms", "p99 ms", "CPU ms", "CPU / limit", title=f"embed_rpc: {result['model']}, alone")
    for name, figures in result["alone"].items():
        ratio = result["cpu_ratio_to_limit"].get(name, "")
        alone.add_row(name, *(f"{figures[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms")), f"{ratio}")
    times = result["times_naive"]
    promise = f"the naive loop takes {times['p50']:g} times as long (promised: {PROMISED_TIMES_NAIVE})" if times else ""
    alone.caption = "; ".join(filter(None, [promise, *result["not_measured"].values()]))
    return Group(alone, throughput_table(result["throughput"]))
