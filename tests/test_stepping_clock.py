"""A wall clock that steps back an hour, or on by a day: nothing is lost, the order is that of the writes, and waits are
as long as ever."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from server_process import ServerProcess, hash_serving
from stepping_clock import SteppingClock

from recwire import Event, Item, RecwireError, SeenPolicy
from recwire.v1.user_service_pb2 import StoredEvent

HOUR_S, DAY_S = 3_600, 24 * 3_600
SETTINGS = {"decay_half_life_s": 60.0, "popularity_weight": 0.5, "recency_weight": 0.5, "recency_half_life_s": 60.0}
STEPS = pytest.mark.parametrize("step_s", [-HOUR_S, DAY_S], ids=["an hour back", "a day on"])


@dataclass(frozen=True)
class Stepped:
    """A server whose clock can step."""

    server: ServerProcess
    clock: SteppingClock
    data_dir: Path

    def events(self) -> list[StoredEvent]:
        """Return ada's events, the newest first."""
        return list(self.server.client.list_events("ada"))


@pytest.fixture
def stepped(tmp_path: Path) -> Iterator[Stepped]:
    """A server with 20 items and the user ada, who has three events, and settings in which time matters."""
    clock = SteppingClock(tmp_path)
    clock.step_to(0)
    with hash_serving(tmp_path / "data", environment=clock.environment, **SETTINGS) as server:
        server.client.upsert_items([Item(item_id=f"i{n}", title=f"title {n}") for n in range(20)])
        server.client.update_user("ada", [Event(event_id=f"e{n}", item_id=f"i{n}") for n in range(3)])
        yield Stepped(server, clock, tmp_path / "data")


@STEPS
def test_the_clock_of_the_test_steps(step_s: int, stepped: Stepped):
    """The server takes its time from it."""
    stepped.clock.step_to(step_s)
    stepped.server.client.update_user("ada", [Event(event_id="late", item_id="i5")])
    (record_s,) = [one.record_time.seconds for one in stepped.events() if one.event.event_id == "late"]
    assert abs(record_s - time.time() - step_s) < 60


@STEPS
def test_no_event_is_lost_and_revisions_grow(step_s: int, stepped: Stepped):
    """The newest is the one that was written last, whatever the clock says; a restart says the same."""
    client = stepped.server.client
    revisions = [client.get_user("ada").revision]
    for number, offset_s in enumerate((step_s, 0, step_s, 0)):
        stepped.clock.step_to(offset_s)
        revisions.append(client.update_user("ada", [Event(event_id=f"late{number}", item_id=f"i{number}")]).revision)
    assert revisions == sorted(set(revisions))
    assert [one.event.event_id for one in stepped.events()][:4] == ["late3", "late2", "late1", "late0"]
    assert [list(answer.differing_user_ids) for answer in client.check_users()] == [[]]
    before = client.get_user("ada")
    stepped.server.kill9()
    with hash_serving(stepped.data_dir, **SETTINGS) as server:
        assert server.client.get_user("ada") == before


@STEPS
def test_scores_stay_in_bounds(step_s: int, stepped: Stepped):
    """Decay, popularity and recency are shares of what they may be, and an answer adds up: none grows without end."""
    client = stepped.server.client
    for offset_s in (0, step_s, 0):
        stepped.clock.step_to(offset_s)
        client.upsert_items([Item(item_id=f"at{offset_s}", title="title 3 new")])
        client.update_user("bea", [Event(item_id="i3"), Event(item_id=f"at{offset_s}")])
        for user in ("ada", "nobody"):
            answer = client.recommend(user, explain=True, limit=22, seen=SeenPolicy.SEEN_POLICY_INCLUDE)
            assert answer.recommendations
            for one in answer.recommendations:
                assert abs(one.score) <= 1 + SETTINGS["popularity_weight"] + SETTINGS["recency_weight"] + 1e-9
                assert sum(part.value for part in one.contributions) == pytest.approx(one.score, abs=1e-9)


def test_rotation_goes_by_the_clock(stepped: Stepped):
    """What was served before a step back still counts, and after a step on it may come again sooner."""
    client = stepped.server.client

    def served() -> set[str]:
        answer = client.recommend("ada", limit=5, rotation=timedelta(seconds=HOUR_S / 2))
        return {one.item_id for one in answer.recommendations}

    first = served()
    stepped.clock.step_to(-HOUR_S)
    second = served()
    assert not first & second
    stepped.clock.step_to(0)
    assert not first & served()
    stepped.clock.step_to(DAY_S)
    assert served() == first


def test_items_expire_by_the_clock(stepped: Stepped):
    """And come back when it steps back."""
    client = stepped.server.client
    item = Item(item_id="short", title="title 4")
    item.expire_time.FromSeconds(int(time.time()) + HOUR_S)
    client.upsert_items([item])
    found = []
    for offset_s in (0, DAY_S, -HOUR_S):
        stepped.clock.step_to(offset_s)
        answer = client.recommend(text="title 4", limit=1_000)
        found.append("short" in {one.item_id for one in answer.recommendations})
    assert found == [True, False, True]


@STEPS
def test_deadlines_do_not_go_by_the_clock(step_s: int, stepped: Stepped):
    """A call that waits is answered after as long as it asked for."""
    begin_s = time.monotonic()
    stepped.clock.step_to(step_s)
    with pytest.raises(RecwireError):
        stepped.server.client.recommend("ada", min_revision=2**40, timeout_s=1)
    assert 0.5 < time.monotonic() - begin_s < 30
    assert stepped.server.terminate() == 0
