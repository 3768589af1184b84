"""`import items`, against a server on a real socket."""

import json
from pathlib import Path

import pytest
from conftest import RunningServer
from recording_server import RecordingServer
from typer.testing import CliRunner, Result

from recwire_server.cli.imports import app


def run(path: Path, server: RecordingServer | RunningServer, *options: str) -> Result:
    return CliRunner().invoke(app, ["items", str(path), "--to", server.address, *options])


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    rows = [{"id": f"i{number}", "title": f"Item {number}"} for number in range(1000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_item_goes_in(catalogue):
    """All items arrive, in messages of at most 256, and the summary counts them."""
    with RecordingServer() as server:
        result = run(catalogue, server)
    assert result.exit_code == 0, result.stderr
    assert list(server.items) == [f"i{number}" for number in range(1000)]
    assert server.message_sizes == [256, 256, 256, 232]
    assert "imported 1,000 items" in result.stdout
    assert result.stderr == ""


def test_long_items_go_in_smaller_messages(tmp_path):
    """A message stays well under what the server takes."""
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"id": n, "text": ["x" * 32_000] * 10}) + "\n" for n in range(10)))
    with RecordingServer() as server:
        assert run(path, server).exit_code == 0
    assert server.message_sizes == [3, 3, 3, 1]


def test_refused_items_are_reported_by_line(catalogue):
    """What the server refuses is named by file and line; the rest goes in; the status is 1."""
    with RecordingServer(refused={"i2", "i700"}) as server:
        result = run(catalogue, server)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{catalogue}:3: title: is refused",
        f"{catalogue}:701: title: is refused",
    ]
    assert len(server.items) == 998
    assert "imported 998 items" in result.stdout
    assert "2 refused" in result.stdout


def test_of_lines_with_one_id_the_last_wins(tmp_path):
    """An item that comes twice is what its last line says, and the summary says that there was another."""
    path = tmp_path / "items.csv"
    path.write_text("id,title\na,Old\nb,B\na,New\n")
    with RecordingServer() as server:
        result = run(path, server)
    assert server.items["a"].title == "New"
    assert "1 duplicates" in result.stdout
    assert "the last one wins" in result.stdout


def test_items_with_the_same_text_are_told(tmp_path, hash_server):
    """The summary counts them and names the first, each beside the one that has its text; they go in all the same."""
    path = tmp_path / "items.csv"
    path.write_text("id,title\na,Tent\nb,Boots\n" + "".join(f"c{n},Tent\n" for n in range(4)))
    result = run(path, hash_server)
    assert result.exit_code == 0
    assert "imported 6 items" in result.stdout
    assert "4 items have the same text as another: c0 like a, c1 like a, c2 like a, ..." in result.stdout
    assert len(list(hash_server.client.list_items())) == 6


def test_an_interrupted_import_is_finished_by_running_it_again(catalogue):
    """A server that dies half-way makes the import fail; the next run ends as though nothing had happened."""
    with RecordingServer() as server:
        run(catalogue, server)
    with RecordingServer(dies_after=2) as dying:
        failed = run(catalogue, dying, "--retry-for", "0.3")
    assert failed.exit_code == 1
    assert "run the import again" in failed.stderr

    dying.dies_after = None
    with dying as back:
        assert run(catalogue, back).exit_code == 0
    assert back.items == server.items


def test_a_short_absence_is_waited_for(catalogue):
    """UNAVAILABLE is tried again after the time that the server names; nothing is lost."""
    with RecordingServer(pauses=3) as server:
        result = run(catalogue, server)
    assert result.exit_code == 0, result.stderr
    assert len(server.items) == 1000


def test_strict_stops_at_the_first_bad_line(tmp_path):
    """Nothing after it is read."""
    path = tmp_path / "items.csv"
    path.write_text("id,title\n" + "".join(f"{n},T\n" for n in range(300)) + ",no id\n,no id\n")
    with RecordingServer() as server:
        result = run(path, server, "--strict")
    assert result.exit_code == 1
    assert result.stderr.count("id is missing") == 1
    assert len(server.items) <= 300


def test_bad_lines_are_shown_up_to_twenty_and_all_kept_in_a_file(tmp_path):
    """The screen gets the first 20 and the number of the others; --errors-to gets all."""
    path, errors = tmp_path / "items.csv", tmp_path / "errors.txt"
    path.write_text("id,title\n" + ",T\n" * 50 + "a,T\n")
    with RecordingServer() as server:
        shown = run(path, server)
        kept = run(path, server, "--errors-to", str(errors))
    assert len(shown.stderr.splitlines()) == 20
    assert "30 more bad lines" in shown.stdout
    assert kept.exit_code == 1
    assert len(errors.read_text().splitlines()) == 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--map", "titel=name"], "TARGET one of: item_id, title, text"),
        (["--map", "title=nmae"], "'nmae'"),
        (["--number", "price"], "'price'"),
    ],
)
def test_a_command_that_does_not_fit_the_file_exits_with_2(tmp_path, options, said):
    """The message says what there is to choose from, and nothing is sent."""
    path = tmp_path / "items.csv"
    path.write_text("id,name\na,A\n")
    with RecordingServer() as server:
        result = run(path, server, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not server.items


def test_a_column_that_no_row_of_jsonl_has_exits_with_2(catalogue):
    """JSONL has no header to check before; the mistake is reported at the end."""
    with RecordingServer() as server:
        result = run(catalogue, server, "--map", "text=descripton")
    assert result.exit_code == 2
    assert "descripton" in result.stderr


def test_a_missing_server_is_named_with_the_way_to_start_one(catalogue):
    """The message names the address and the command."""
    with RecordingServer() as server:
        pass
    result = run(catalogue, server, "--retry-for", "0.5")
    assert result.exit_code == 1
    assert f"nothing answers at {server.address}" in result.stderr
    assert "recwire-server serve" in result.stderr
