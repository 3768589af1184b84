"""embed_cost: what a call of Embed costs the server beyond the encoder, in CPU time.

The limit is the CPU time of the same encoder called in this process for the same text of 12 tokens, and that of the
server for an empty call (health's Check), both in turn: a model of 10 MB between two calls leaves little of a program
in the processor's caches, whoever wrote it. The sum of both in loops of their own, caches warm, is given too. Beside
them: the server's CPU for a call of Embed, one and four in flight.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from rich.table import Table

from benchmarks.measurement import Contender, measure
from benchmarks.served import TEXT, Served, default_encoder, served
from benchmarks.table import calls_table
from recwire.v1.recommender_service_pb2 import EmbedRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.encoder import Encoder, Purpose
from recwire_server.encoder.embedding import encode

# Many short rounds: where other machines share the processor, its speed changes from second to second.
ROUNDS, CALLS, WARM_UP_CALLS = 40, 50, 100
OTHER_WORDS = ("walk", "run", "ride", "talk")  # a token each


class Result(TypedDict):
    """What is kept, ready for JSON; calls: a measurement by contender, as `measurement.Measurement` has it; of
    embed_4_in_flight for four texts."""

    model: str
    calls: dict[str, dict[str, Any]]
    cpu_ms_a_text: dict[str, float]
    cpu_ratio_to_limit: dict[str, float]
    cpu_ratio_to_warm_loops: dict[str, float]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer calls."""
    encoder = default_encoder()
    with (
        TemporaryDirectory(prefix="recwire-embed-cost-") as folder,
        served(Path(folder) / "data", "--embedding-cache-bytes", "0") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        recommender, health = RecommenderServiceStub(channel), HealthStub(channel)
        request, check = EmbedRequest(texts=[TEXT]), HealthCheckRequest()
        # The same text in flight twice would be encoded once.
        requests = [EmbedRequest(texts=[TEXT.replace("walk", word)]) for word in OTHER_WORDS]

        def embed_some() -> None:
            for call in [recommender.Embed.future(request) for request in requests]:
                call.result()

        in_turn = _InTurn(encoder, lambda: health.Check(check), server)
        contenders = {
            "encode": Contender(lambda: encode(encoder, [TEXT], Purpose.QUERY), time.process_time),
            "empty_call": Contender(lambda: health.Check(check), server.threads_cpu_s),
            "encode_and_empty_call": Contender(in_turn.call, in_turn.cpu_s),
            "embed": Contender(lambda: recommender.Embed(request), server.threads_cpu_s),
            "embed_4_in_flight": Contender(embed_some, server.threads_cpu_s),
        }
        measured = measure(contenders, ROUNDS, CALLS // 4 if quick else CALLS, WARM_UP_CALLS)
    limit_ms = measured["encode_and_empty_call"].cpu_ms
    warm_loops_ms = measured["encode"].cpu_ms + measured["empty_call"].cpu_ms
    cpu_ms = {
        "embed": measured["embed"].cpu_ms,
        "embed_4_in_flight": measured["embed_4_in_flight"].cpu_ms / len(OTHER_WORDS),
    }
    return {
        "model": encoder.model.name,
        "calls": {name: asdict(measurement) for name, measurement in measured.items()},
        "cpu_ms_a_text": {
            name: round(ms, 4) for name, ms in ({"limit": limit_ms, "warm_loops": warm_loops_ms} | cpu_ms).items()
        },
        "cpu_ratio_to_limit": {name: round(ms / limit_ms, 3) for name, ms in cpu_ms.items()},
        "cpu_ratio_to_warm_loops": {name: round(ms / warm_loops_ms, 3) for name, ms in cpu_ms.items()},
    }


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


def table(result: Result) -> Table:
    """Return the figures for people."""
    return calls_table("embed_cost", result)
