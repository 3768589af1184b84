"""The load generator: calls are due by a schedule, judged from then on, and each is counted once."""

import pickle
import random
import time
from collections import Counter
from itertools import islice, pairwise

import pytest
from conftest import RunningServer, StartServer
from gated_encoder import GatedEncoder
from stalling_server import StallingServer

from recwire.v1.recommender_service_pb2 import EmbedRequest, RecommendRequest, UpdateUserRequest
from recwire_server.load.generator import LoadGenerator
from recwire_server.load.histogram import Histogram
from recwire_server.load.outcome import Outcomes
from recwire_server.load.schedule import ClosedLoad, OpenLoad, Spacing, due_times
from recwire_server.load.timer import Timer
from recwire_server.load.worker import Target
from recwire_server.load.workload import MIX, PATHS, Call, Workload

EMPTY = Workload(Call.EMPTY, seed=1)
PATIENCE_S = 20.0


def test_calls_are_due_as_a_poisson_process_has_it():
    """So many a second on average, the same for the same seed; their distances vary as much as they are long."""
    load = OpenLoad(rate=1_000, duration_s=9, warm_up_s=1, timeout_s=1)
    times = due_times(load, seed=1)
    assert times == due_times(load, seed=1) != due_times(load, seed=2)
    assert times == sorted(times)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    distances = [after - before for before, after in pairwise(times)]
    mean = sum(distances) / len(distances)
    variance = sum((distance - mean) ** 2 for distance in distances) / len(distances)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)


def test_calls_can_be_due_evenly():
    """At the same distance each, from the beginning to the end."""
    times = due_times(OpenLoad(50, duration_s=1, warm_up_s=1, timeout_s=1, spacing=Spacing.EVEN), seed=1)
    assert times == pytest.approx([number / 50 for number in range(100)])


async def test_a_timer_does_not_ring_early():
    """It returns at the time or after; at once for a time that is past."""
    with Timer() as timer:
        begin_s = time.perf_counter()
        for after_s in (0.0005, 0.001, 0.0155, 0.0155, 0.01):
            await timer.wait_until(begin_s + after_s)
            assert time.perf_counter() >= begin_s + after_s


def test_a_stall_shows_in_all_calls_that_were_due_in_it():
    """An open loop counts the wait of each of them; a closed loop has one call in it, and omits the others."""
    second = {"duration_s": 2.0, "warm_up_s": 0.0, "timeout_s": PATIENCE_S}
    loads = {"open": OpenLoad(100, spacing=Spacing.EVEN, **second), "closed": ClosedLoad(1, **second)}
    stalled = {}
    for name, load in loads.items():
        with StallingServer(stall_at=20, stall_s=1.0) as server, LoadGenerator(Target(server.address), 1) as generator:
            stalled[name] = generator.run(EMPTY, load)
    assert all(one.latency.percentile_ms(100) > 1_000 for one in stalled.values())
    assert stalled["open"].offered == stalled["open"].served == 200
    assert stalled["open"].latency.percentile_ms(80) > 400  # 60 of the 200 were due more than .4 s before its end
    assert stalled["closed"].latency.percentile_ms(90) < 200


def test_processes_share_a_schedule_and_begin_together():
    """Calls that are due in turn arrive in turn, from either, and each is made once."""
    load = OpenLoad(rate=10, duration_s=2, warm_up_s=0, timeout_s=PATIENCE_S, spacing=Spacing.EVEN)
    with StallingServer() as server, LoadGenerator(Target(server.address), worker_count=2) as generator:
        outcomes = generator.run(EMPTY, load)
    assert outcomes.offered == outcomes.served == outcomes.lag.count == len(server.peers) == 20
    assert all(one != other for one, other in pairwise(server.peers))


def test_every_call_has_one_outcome(start_server: StartServer):
    """Served, refused, late or failed: together they are what the schedule has after the warm-up."""
    encoder = GatedEncoder()
    server = start_server(encoder, max_calls=2)
    load = OpenLoad(rate=50, duration_s=1, warm_up_s=0.2, timeout_s=0.4)
    with LoadGenerator(Target(server.address), worker_count=2) as generator:
        held = generator.run(Workload(Call.EMBED, 1, texts=["text"]), load)
        failing = generator.run(Workload(Call.RECOMMEND, 1, item_ids=["unknown"]), load)
        encoder.open()
        full = generator.run(Workload(Call.EMBED, 1, texts=["text"]), ClosedLoad(2, 0.3, 0.1, PATIENCE_S))
    assert held.offered == sum(due_s >= 0.2 for due_s in due_times(load, seed=1))
    assert held.offered == held.refused + held.late == held.refusal.count + held.latency.count
    assert held.codes["RESOURCE_EXHAUSTED"] == held.refused > held.codes["DEADLINE_EXCEEDED"] == held.late > 0
    assert failing.offered == failing.failed == failing.codes["NOT_FOUND"] > 0
    assert full.offered == full.served + full.refused
    assert full.served > 0


def test_an_answer_after_its_time_is_late():
    """Though it came: nobody waits for it any more. A deadline that passed is late too, another error has failed."""
    outcomes = Outcomes(duration_s=1)
    for code, taken_s in (("OK", 0.9), ("OK", 1.1), ("DEADLINE_EXCEEDED", 1), ("UNAVAILABLE", 0.1), ("INTERNAL", 0.1)):
        outcomes.add(code, taken_s, timeout_s=1)
    assert (outcomes.offered, outcomes.served, outcomes.late, outcomes.refused, outcomes.failed) == (5, 1, 2, 1, 1)
    assert outcomes.latency.count == 3


def test_a_generator_that_is_too_slow_says_so():
    """More calls than it can make are made late, all of them, and the outcomes tell."""
    with StallingServer() as server, LoadGenerator(Target(server.address), worker_count=1) as generator:
        outcomes = generator.run(EMPTY, OpenLoad(30_000, duration_s=0.2, warm_up_s=0, timeout_s=PATIENCE_S))
    assert outcomes.offered == pytest.approx(6_000, rel=0.1)
    assert outcomes.is_generator_slow
    assert outcomes.told()["is_generator_slow"]


@pytest.mark.parametrize(("lag_s", "latency_s", "is_slow"), [(0.0005, 0.001, False), (0.01, 1, False), (0.3, 1, True)])
def test_lag_counts_beside_the_latency(lag_s: float, latency_s: float, is_slow: bool):
    """A generator is too slow where its lag makes up much of the latency; less than a millisecond never is."""
    outcomes = Outcomes(duration_s=1)
    outcomes.add("OK", latency_s, timeout_s=10)
    outcomes.lag.add(lag_s)
    assert outcomes.is_generator_slow is is_slow


def test_merged_histograms_are_as_one_sorted_list():
    """To three significant figures, from a microsecond to a minute, also when they come from other processes."""
    chance = random.Random(7)
    parts = [[10 ** chance.uniform(-6, 1.7) for _ in range(2_000)] for _ in range(3)]
    merged = Histogram()
    for part in parts:
        histogram = Histogram()
        for duration_s in part:
            histogram.add(duration_s)
        merged.merge(pickle.loads(pickle.dumps(histogram)))
    everything = sorted(duration_s for part in parts for duration_s in part)
    assert merged.count == len(everything)
    for percent in (50, 90, 99, 99.9, 100):
        exact_ms = 1e3 * everything[round(percent / 100 * len(everything)) - 1]
        assert merged.percentile_ms(percent) == pytest.approx(exact_ms, rel=1e-3, abs=1e-3)
    assert Histogram().percentile_ms(50) is None


def test_nothing_is_asked_for_twice_that_a_server_would_remember():
    """Texts and event ids differ, in each process and load; the same seed has the same ones."""
    texts, events = [], []
    for part in ("0 0", "0 1", "1 0"):
        embed = Workload(Call.EMBED, 1, texts=["a", "b"]).requests(part)
        texts += [EmbedRequest.FromString(one.message).texts[0] for one in islice(embed, 500)]
        update = Workload(Call.UPDATE_USER, 1, user_ids=["ada", "bob"], item_ids=["i1"]).requests(part)
        events += [UpdateUserRequest.FromString(one.message).events[0].event_id for one in islice(update, 500)]
    assert len(set(texts)) == len(set(events)) == 1_500
    assert next(Workload(Call.EMBED, 1, texts=["a", "b"]).requests("0 0")).message.endswith(texts[0].encode())


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ({"item_ids": ["i1"]}, RecommendRequest(item_id="i1")),
        ({"item_ids": ["i1"], "user_ids": ["ada"]}, RecommendRequest(user_id="ada")),
        ({"user_ids": ["ada"], "vectors": [b"1234"]}, RecommendRequest(vector=b"1234")),
    ],
)
def test_what_is_recommended_for(given, target):
    """Vectors before users before items."""
    request = RecommendRequest.FromString(next(Workload(Call.RECOMMEND, 1, **given).requests("0")).message)
    assert request.WhichOneof("target") == target.WhichOneof("target")


def test_a_mix_has_all_calls(hash_server: RunningServer):
    """In the shares that it says."""
    mix = Workload(Call.MIX, 1, user_ids=["ada"], item_ids=["i1"], texts=["text"])
    counts = Counter(request.path for request in islice(mix.requests("0"), 2_000))
    for call, share in MIX.items():
        assert counts[PATHS[call]] / 2_000 == pytest.approx(share / sum(MIX.values()), abs=0.05)
    with LoadGenerator(Target(hash_server.address), worker_count=1) as generator:
        outcomes = generator.run(mix, ClosedLoad(2, 0.3, 0, PATIENCE_S))
    assert outcomes.offered == outcomes.served > 0
