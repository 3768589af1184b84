"""Whatever happened before, answers are those of a plain oracle: same items, same scores to 1e-5."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import grpc
import numpy as np
import pytest
from contract_words import DAY_S, Rules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle
from scenario import DIM, WORDS, Scenario, histories, questions
from waiting import wait_until

from recwire import Client, Item, NotFoundError, to_bytes
from recwire.channel import Stubs
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

RULES = {
    "plain mean": Rules(),
    "decay, few events": Rules(
        decay_per_event=0.7, max_history_events=3, event_weights={"view": 0.5, "purchase": -2, "skip": 0}
    ),
    "half-life, older ignored": Rules(
        decay_half_life_s=2 * DAY_S, max_history_events=3, older_events="ignore", repeat_window_s=1.5 * DAY_S
    ),
    "both decays, popularity and recency": Rules(
        decay_per_event=0.8,
        decay_half_life_s=3 * DAY_S,
        max_history_events=4,
        repeat_window_s=2.5 * DAY_S,
        popularity_weight=0.5,
        popularity_half_life_s=0,
        recency_weight=0.3,
        recency_half_life_s=2 * DAY_S,
    ),
    "decaying popularity": Rules(
        decay_per_event=0.9,
        older_events="ignore",
        max_history_events=5,
        popularity_weight=1,
        popularity_half_life_s=DAY_S,
    ),
}
EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MANY_EXAMPLES = settings(EXAMPLES, max_examples=600)


@dataclass
class Served:
    """A server, and an oracle that knows its rules and what is in it before a scenario and stays."""

    stubs: Stubs = field(repr=False)
    oracle: Oracle = field(repr=False)
    numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def scenario(self) -> Iterator[Scenario]:
        """A scenario with items and users of its own, which go with it."""
        scenario = Scenario(self.stubs, deepcopy(self.oracle), f"{next(self.numbers):06}")
        try:
            yield scenario
        finally:
            scenario.clear()


@contextmanager
def serving(rules: Rules, data_dir: Path, **flags: object) -> Iterator[Stubs]:
    flags = {"listen": "127.0.0.1:0", "data_dir": data_dir, **asdict(rules), **flags}
    with running_server(load_settings(flags), HashEncoder()) as address, grpc.insecure_channel(address) as channel:
        yield Stubs(channel)


@pytest.fixture(scope="module", params=RULES.values(), ids=RULES)
def plain(request, tmp_path_factory) -> Iterator[Served]:
    """A server in the plain space; users are dropped from memory and read back all the time."""
    data_dir = tmp_path_factory.mktemp("plain")
    with serving(request.param, data_dir, vector_space="plain", user_cache_bytes=20_000) as stubs:
        yield Served(stubs, Oracle(request.param))


@pytest.fixture(scope="module")
def centred(tmp_path_factory) -> Iterator[Served]:
    """A server in the centred space, whose mean is that of 1,000 items that stay."""
    random = np.random.default_rng(5)
    catalogue = [
        Item(item_id=f"c{n}", title=" ".join(random.choice(WORDS, 2)), vector=to_bytes(random.normal(1, 1, DIM)))
        for n in range(1_000)
    ]
    rules = RULES["decay, few events"]
    flags = {"listen": "127.0.0.1:0", "data_dir": tmp_path_factory.mktemp("centred"), **asdict(rules)}
    with running_server(load_settings(flags), HashEncoder()) as address, Client(address) as client:
        oracle = Oracle(rules)
        for start in range(0, 1_000, 250):
            oracle.upsert(catalogue[start : start + 250], time.time_ns())
            client.upsert_items(catalogue[start : start + 250])
        wait_until(client, lambda: client.get_server_info().vector_space == "centred")
        with suppress(NotFoundError):  # it may not have taken any waiting
            client.delete_user("waiting")
        mean = np.mean([one.vector for one in oracle.items.values()], axis=0)
        oracle.mean = mean.astype(np.float32).astype(np.float64)
        with grpc.insecure_channel(address) as channel:
            yield Served(Stubs(channel), oracle)


def check(served: Served, history, asked) -> None:
    with served.scenario() as scenario:
        scenario.play(history)
        for question in asked:
            scenario.ask(question)
        scenario.check_users()


@EXAMPLES
@given(history=histories, asked=st.lists(questions, min_size=1, max_size=4))
def test_answers_are_those_of_a_plain_replay(plain, history, asked):
    """After any order of upserts, deletions, events, removals and questions, under several settings."""
    check(plain, history, asked)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@MANY_EXAMPLES
@given(history=histories, asked=st.lists(questions, min_size=1, max_size=4))
def test_many_answers_are_those_of_a_plain_replay(plain, history, asked):
    """The same, often."""
    check(plain, history, asked)


@settings(EXAMPLES, max_examples=20)
@given(history=histories, asked=st.lists(questions, min_size=1, max_size=4))
def test_answers_in_the_centred_space_are_the_oracles_too(centred, history, asked):
    """From 1,000 items on the catalogue's mean is subtracted from items, events and queries alike."""
    check(centred, history, asked)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@settings(MANY_EXAMPLES, max_examples=500)
@given(history=histories, asked=st.lists(questions, min_size=1, max_size=4))
def test_many_answers_in_the_centred_space_are_the_oracles_too(centred, history, asked):
    """The same, often."""
    check(centred, history, asked)


@pytest.mark.parametrize("name", ["decay, few events", "decaying popularity"])
@settings(EXAMPLES, max_examples=12)
@given(history=histories, asked=st.lists(questions, min_size=6, max_size=10))
def test_the_same_question_gets_the_same_bytes(name, tmp_path_factory, history, asked):
    """At once, and from a server that has started anew, ties included."""
    data_dir = tmp_path_factory.mktemp("same")
    with serving(RULES[name], data_dir, vector_space="plain") as stubs:
        scenario = Scenario(stubs, Oracle(RULES[name]), "same")
        scenario.play(history)
        scenario.asked.clear()  # of a state that has gone since
        for question in asked:
            scenario.ask(question)
        for request, answer in scenario.asked:
            assert stubs.recommender.Recommend(request).SerializeToString() == answer.SerializeToString()
    with serving(RULES[name], data_dir, vector_space="plain") as stubs:
        for request, answer in scenario.asked:
            assert stubs.recommender.Recommend(request).SerializeToString() == answer.SerializeToString()
