"""The open-loop load of the benchmarks: calls are made when they are due, and judged from then on."""

import asyncio
from itertools import count, pairwise

import grpc
import pytest
from conftest import StartServer
from gated_encoder import GatedEncoder

from benchmarks.open_loop import due_times, offer, saturate
from recwire.v1.recommender_service_pb2 import EmbedRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub


def test_calls_are_due_as_a_poisson_process_has_it():
    """So many a second on average, the same for the same seed; their distances vary as much as they are long."""
    times = list(due_times(1_000, 10, seed=1))
    assert times == list(due_times(1_000, 10, seed=1))
    assert len(times) == pytest.approx(10_000, rel=0.05)
    distances = [after - before for before, after in pairwise(times)]
    mean = sum(distances) / len(distances)
    variance = sum((distance - mean) ** 2 for distance in distances) / len(distances)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)


async def test_a_call_that_waits_for_the_loop_is_late():
    """What holds up the loop counts: a call is judged from when it was due, not from when it could be made."""

    async def call() -> None:
        for _ in range(100_000):
            pass

    outcomes = await offer(call, rate=2_000, warm_up_s=0.1, duration_s=0.4, seed=1)
    assert set(outcomes.counts) == {"OK"}
    assert max(outcomes.seconds["OK"]) > 0.2  # a call by itself takes milliseconds


async def test_outcomes_are_by_code(start_server: StartServer):
    """Refused calls are counted apart, and do not end the load."""
    encoder, numbers = GatedEncoder(), count()
    server = start_server(encoder, max_calls=2)
    async with grpc.aio.insecure_channel(server.address) as channel:
        embed = RecommenderServiceStub(channel).Embed

        async def call() -> None:
            await embed(EmbedRequest(texts=[f"text {next(numbers)}"]), timeout=0.5)

        outcomes = await offer(call, rate=50, warm_up_s=0, duration_s=1, seed=1)
        assert outcomes.counts["RESOURCE_EXHAUSTED"] > outcomes.counts["DEADLINE_EXCEEDED"] > 0
        assert outcomes.counts["OK"] == 0
        encoder.open()
        assert await asyncio.wait_for(saturate(call, 2, 0, 0.2), 10) > 0
