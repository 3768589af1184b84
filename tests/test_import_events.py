"""`import events`, against a server on a real socket."""

import random
from pathlib import Path

import pytest
from recording_server import RecordingServer
from typer.testing import CliRunner, Result

from recwire.channel import Connection
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.cli.imports import app
from recwire_server.importing.call import connected
from recwire_server.importing.event import EventReader
from recwire_server.importing.event_import import EventImport
from recwire_server.importing.report import Report
from recwire_server.importing.source import Row

HEADER = "user\titem\ttimestamp\tvalue\n"


def run(path: Path, server: RecordingServer, *options: str) -> Result:
    return CliRunner().invoke(app, ["events", str(path), "--to", server.address, *options])


@pytest.fixture
def behaviour(tmp_path: Path) -> Path:
    """20 users' 4,000 events, 300 of them said twice, in no order."""
    chance = random.Random(7)
    users = [f"u{chance.randrange(20)}\ti{chance.randrange(50)}" for _ in range(3700)]
    rows = [f"{user}\t{1_600_000_000 + chance.randrange(10**6)}\t{chance.choice('135')}\n" for user in users]
    rows += chance.sample(rows, 300)
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "".join(rows))
    return path


def test_every_event_goes_in_each_users_in_the_order_of_time(behaviour):
    """Each arrives once, sorted by time within the user, at most 256 a call, one call a user at a time."""
    with RecordingServer() as server:
        result = run(behaviour, server)
    assert result.exit_code == 0, result.stderr
    assert "imported 4,000 events" in result.stdout
    assert sum(len(events) for events in server.events.values()) == 4000
    for events in server.events.values():
        times = [event.event_time.seconds for event in events.values()]
        assert times == sorted(times)
    assert max(server.message_sizes) <= 256
    assert not server.overlapping_users


def test_events_of_one_time_keep_the_files_order(tmp_path):
    """The sort is stable."""
    path = tmp_path / "events.csv"
    path.write_text("user,item,timestamp\n" + "".join(f"u,i{n},10\n" for n in range(300)))
    with RecordingServer() as server:
        run(path, server)
    assert [event.item_id for event in server.events["u"].values()] == [f"i{n}" for n in range(300)]


def test_importing_twice_counts_nothing_twice(behaviour):
    """The second run finds every event known, those that the file says twice too."""
    with RecordingServer() as server:
        run(behaviour, server)
        order = server.order()
        result = run(behaviour, server)
    assert result.exit_code == 0
    assert "imported 0 events" in result.stdout
    assert "4,000 duplicates" in result.stdout
    assert server.order() == order


def test_an_interrupted_import_is_finished_by_running_it_again(behaviour):
    """After a server's death half-way and a second run, every user is as after an uninterrupted run."""
    with RecordingServer() as server:
        run(behaviour, server)
    with RecordingServer(dies_after=9) as dying:
        failed = run(behaviour, dying, "--retry-for", "0.3")
    assert failed.exit_code == 1
    assert "nothing is lost, and nothing counts twice" in failed.stderr
    assert 0 < sum(len(events) for events in dying.events.values()) < 4000

    dying.dies_after = None
    with dying as back:
        assert run(behaviour, back).exit_code == 0
    assert back.order() == server.order()
    assert back.events == server.events


def test_a_short_absence_is_waited_for(behaviour):
    """UNAVAILABLE is tried again after the time that the server names; nothing is lost."""
    with RecordingServer(pauses=30) as server:
        result = run(behaviour, server)
    assert result.exit_code == 0, result.stderr
    assert sum(len(events) for events in server.events.values()) == 4000


def test_an_event_that_the_server_refuses_costs_only_itself(tmp_path):
    """The refused event is named by its line, and the others of its call go in."""
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "u\ta\t2\t5\nu\tbad\t1\t5\nu\tb\t3\t5\nv\tbad\t1\t5\n")
    with RecordingServer(refused={"bad"}) as server:
        result = run(path, server)
    assert result.exit_code == 1
    said = [f"{path}:{line}: item_id: is refused" for line in (3, 5)]
    assert sorted(result.stderr.splitlines()) == said
    assert [event.item_id for event in server.events["u"].values()] == ["a", "b"]
    assert "imported 2 events" in result.stdout


def test_bad_lines_are_reported_by_file_and_line(tmp_path):
    """The reason names the file's own column; the rest goes in; the status is 1."""
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "u\ta\tabc\t5\nu\tb\t3\t9\nu\tc\t3\n\td\t3\t4\nu\te\t3\t4\n")
    with RecordingServer() as server:
        result = run(path, server)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{path}:2: timestamp 'abc' is not a number of seconds nor ISO 8601",
        f"{path}:3: value 9 is not between 0.5 and 5 (say how the ratings go with --rating-scale)",
        f"{path}:4: has 3 cells; the header has 4",
        f"{path}:5: user is missing or empty",
    ]
    assert [event.item_id for event in server.events["u"].values()] == ["e"]


def test_strict_stops_at_the_first_event_that_the_server_refuses(tmp_path):
    """One line is reported, and the status is 1."""
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "u\tbad\t1\t5\nu\tbad\t2\t5\n")
    with RecordingServer(refused={"bad"}) as server:
        result = run(path, server, "--strict")
    assert result.exit_code == 1
    assert result.stderr.count("is refused") == 1
    assert "--strict" in result.stderr


def test_items_that_are_not_in_the_catalogue_yet_are_counted(behaviour):
    """The summary says how many items the events wait for."""
    with RecordingServer() as server:
        result = run(behaviour, server)
    assert "50 items are not in the catalogue yet (i0, i1, i10, ...)" in result.stdout


async def test_what_goes_in_late_is_counted(tmp_path):
    """Beyond the buffer a user's events can be out of order; the report says how many are."""
    reader, report = EventReader(), Report(tmp_path, say=print)
    rows = [Row(n, {"user": "u", "item": f"i{n}", "timestamp": 100 - n}) for n in range(4)]
    with RecordingServer() as server:
        channel = await connected(Connection(server.address), 5)
        update_user = RecommenderServiceStub(channel).UpdateUser
        await EventImport(update_user, report, patience_s=1, max_buffered=2).run(map(reader.read, rows))
        await channel.close()
    assert [event.item_id for event in server.events["u"].values()] == ["i1", "i0", "i3", "i2"]
    assert "2 events went in after newer ones" in report.summary("events")
