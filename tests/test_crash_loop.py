"""Killed at any moment, again and again, a server loses nothing that it acknowledged and doubles nothing."""

import asyncio
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from contract_words import Rules
from crash_model import CATALOGUE, Found, call, oracle_of, subject
from crash_writer import WRITER_COUNT, Revisions, Writer, write_until
from scenario import check_answer, check_recommendation
from server_process import PATIENCE_S, ServerProcess, hash_serve_command, hash_serving
from sudden_end import kill_inside, watching
from typer.testing import CliRunner

from recwire import Client, NotFoundError, RecommendOptions
from recwire.v1.recommender_service_pb2 import RecommendRequest
from recwire_server.cli import app

RULES = Rules(decay_per_event=0.9)
# Graphs are built, replaced and saved within a round; users are dropped from memory and read again.
SETTINGS = {
    "decay_per_event": RULES.decay_per_event,
    "vector_space": "plain",
    "exact_search_max_items": 30,
    "search_method": "graph",
    "graph_min_items": 60,
    "user_cache_bytes": 100_000,
}


def test_nothing_acknowledged_is_lost_in_20_crashes(tmp_path: Path):
    """Users and items, written by four clients at once, are as acknowledged; a call that was cut off happened as a
    whole or not at all, and once it is sent again exactly once; answers are those of a plain oracle."""
    crash_often(tmp_path, 20, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_nothing_acknowledged_is_lost_in_200_crashes(tmp_path: Path):
    """The same, for longer."""
    crash_often(tmp_path, 200, seed=2)


def crash_often(data_dir: Path, rounds: int, seed: int) -> None:
    newest = Revisions()
    writers = [Writer(number, newest) for number in range(WRITER_COUNT)]
    for number in range(rounds):
        random = Random(f"{seed} {number}")
        with hash_serving(data_dir, **SETTINGS) as server:
            check_all(server, writers, newest, random)
            asyncio.run(write_until(server.address, writers, random, random.randint(20, 150), server.kill9))
        if number % 4 == 0:
            check_stopped(data_dir)
        if number % 4 == 1:
            cut_off_start(data_dir, random)
    with hash_serving(data_dir, **SETTINGS) as server:
        check_all(server, writers, newest, Random(seed))
        assert server.terminate() == 0
    check_stopped(data_dir)


def cut_off_start(data_dir: Path, random: Random) -> None:
    """Kill a server that begins to bring back what is in the directory, which takes it some 50 ms."""
    with watching(data_dir) as folder:
        process = subprocess.Popen(hash_serve_command(data_dir, **SETTINGS), stdout=subprocess.DEVNULL)
        kill_inside(process.kill, folder, "*", random.uniform(0, 0.05))
        process.wait(PATIENCE_S)


def check_all(server: ServerProcess, writers: Sequence[Writer], newest: Revisions, random: Random) -> None:
    """Compare what the server has with what it acknowledged, send again what was cut off, and compare again."""
    client, user_ids = server.client, [user_id for writer in writers for user_id in writer.user_ids]
    found = Found.read(client, user_ids)
    check_revisions(client, writers, newest, found)
    for writer in writers:
        writer.state = writer.state.resolved(writer.pending, found)
        for write in writer.pending:
            with suppress(NotFoundError):  # a user who is gone already
                call(client, write)
        writer.state = writer.state.after(writer.pending)
        writer.pending.clear()
    found = Found.read(client, user_ids)
    for writer in writers:
        faults = [writer.state.differs(about, found) for about in [*writer.user_ids, CATALOGUE]]
        assert not any(faults), faults
        writer.revisions = {user_id: found.revisions[user_id] for user_id in writer.state.users}
        newest.event = max(newest.event, *writer.revisions.values(), 0)
    info = client.get_server_info()
    newest.catalog = info.catalog_revision
    assert info.item_count == len(found.items) == sum(len(writer.state.items) for writer in writers)
    assert info.user_count == len(found.users)
    check_answers(server, writers, found, random)
    for progress in client.check_users():
        assert list(progress.differing_user_ids) == []


def check_revisions(client: Client, writers: Sequence[Writer], newest: Revisions, found: Found) -> None:
    """Revisions are as acknowledged, or have grown where something was under way."""
    pending = {subject(write) for writer in writers for write in writer.pending}
    for writer in writers:
        for user_id, revision in writer.revisions.items():
            if user_id not in pending:
                assert found.revisions[user_id] == revision
            elif user_id in found.revisions:
                assert found.revisions[user_id] >= revision
    catalog_revision = client.get_server_info().catalog_revision
    cut_off_count = sum(subject(write) == CATALOGUE for writer in writers for write in writer.pending)
    assert newest.catalog <= catalog_revision <= newest.catalog + cut_off_count


def check_answers(server: ServerProcess, writers: Sequence[Writer], found: Found, random: Random) -> None:
    """What three users get, and one without history, is what a plain replay gives; searched exactly and not."""
    oracle = oracle_of([writer.state for writer in writers], found, RULES)
    for user_id in [*random.sample(sorted(found.users), min(3, len(found.users))), "nobody"]:
        for exact in (True, False):
            options = RecommendOptions(limit=15, explain=True, exact=exact)
            answer = server.client.recommend(user_id, limit=15, explain=True, exact=exact)
            expected = oracle.recommend(RecommendRequest(user_id=user_id, options=options), time.time_ns())
            if exact and expected.is_certain:
                check_answer(answer, expected, options)
            elif expected.is_certain:
                by_id = {scored.item_id: scored for scored in expected.ranked}
                assert len(answer.recommendations) == expected.count
                for one in answer.recommendations:
                    check_recommendation(one, by_id[one.item_id])


def check_stopped(data_dir: Path) -> None:
    """`recwire-server check` finds the directory sound."""
    checked = CliRunner().invoke(app, ["check", "--data-dir", str(data_dir)])
    assert checked.exit_code == 0, checked.output
