"""`recwire-server bench` measures a running server from outside, and leaves nothing behind."""

import json
from pathlib import Path

import grpc
import pytest
from access_files import make_certificates
from conftest import RunningServer
from scripted_server import Failure, ScriptedServer
from typer.testing import CliRunner, Result

from recwire import Item
from recwire.v1.catalog_service_pb2 import ListItemsResponse
from recwire_server.cli import app
from recwire_server.cli.bench_table import notes

KEY = "rw_0123456789abcdef"
BRIEF = ("--duration", "0.3", "--workers", "1", "--timeout", "20")


def bench(address: str, *options: object) -> Result:
    return CliRunner().invoke(app, ["bench", address, *map(str, options)])


@pytest.fixture
def server(hash_server: RunningServer) -> RunningServer:
    """A server with items."""
    hash_server.client.upsert_items([Item(item_id=f"i{n}", title=f"title {n}") for n in range(20)])
    return hash_server


def test_a_mix_is_measured_and_users_are_deleted(server: RunningServer, tmp_path: Path):
    """Each step has a row and its figures as JSON, in which counts add up; it says before that it writes."""
    result = bench(
        server.address, "--call", "mix", "--rate", 40, "--in-flight", 2, *BRIEF, "--json", tmp_path / "out.json"
    )
    assert result.exit_code == 0, result.output
    assert "100 users bench-" in result.stderr
    assert "2 in flight" in result.stdout
    assert "40/s" in result.stdout
    told = json.loads((tmp_path / "out.json").read_text())
    assert [(step.get("in_flight"), step.get("rate")) for step in told["steps"]] == [(2, None), (None, 40.0)]
    for step in told["steps"]:
        assert step["offered"] == sum(step[name] for name in ("served", "refused", "late", "failed"))
        assert step["served"] > 0
        assert {"p50", "p90", "p99", "p99.9", "max"} == set(step["latency_ms"])
    assert told["steps"][1]["generator_lag_ms"]["max"] is not None
    assert server.client.get_server_info().user_count == 0


def test_texts_and_users_can_be_given(server: RunningServer, tmp_path: Path):
    """A line each; recommendations for users ask for these."""
    users, texts = tmp_path / "users.txt", tmp_path / "texts.txt"
    users.write_text("ada\nbob\n")
    texts.write_text("a text\n\nanother\n")
    for call, option, file in (("recommend", "--users", users), ("embed", "--texts", texts)):
        assert bench(server.address, "--call", call, option, file, *BRIEF).exit_code == 0


def test_every_process_brings_the_key_over_tls(tmp_path: Path):
    """The options of access hold for the calls that are measured."""
    files = make_certificates(tmp_path)
    key_file = tmp_path / "api.key"
    key_file.write_text(f"{KEY}\n")
    tls = ["--ca-file", files.ca, "--client-certificate-file", files.certificate, "--client-key-file", files.key]
    with ScriptedServer(files.server_credentials(asks_for_certificate=True)) as server:
        server.answer("ListItems", ListItemsResponse(items=[Item(item_id="i1")]))
        result = bench(server.address, "--in-flight", 2, *BRIEF, "--api-key-file", key_file, *tls)
        keys = [call.authorization for call in server.received if call.rpc == "Recommend"]
    assert result.exit_code == 0, result.output
    assert len(keys) > 1
    assert set(keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--users", "{empty}"], "is empty: give a file with a line each"),
        (["--texts", "none.txt"], "none.txt cannot be read"),
        (["--rate", "100000", "--duration", "60"], "6,000,000 calls; the limit is 1,000,000"),
        (["--rate", "0"], "0.01"),
    ],
)
def test_wrong_usage_is_told(options: list[str], told: str, tmp_path: Path):
    """Status 2, before anything is called."""
    (tmp_path / "empty.txt").touch()
    result = bench("127.0.0.1:1", *(option.replace("{empty}", str(tmp_path / "empty.txt")) for option in options))
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_server_that_is_not_there_is_told():
    """Status 1, and what to name instead."""
    result = bench("127.0.0.1:1")
    assert result.exit_code == 1
    assert "name a running server with ADDRESS" in result.stderr


def test_an_empty_catalogue_is_told(hash_server: RunningServer):
    """With the command that fills it."""
    result = bench(hash_server.address, "--call", "embed")
    assert result.exit_code == 1
    assert f"recwire-server import items FILE --to {hash_server.address}" in result.stderr


def test_items_without_texts_are_told():
    """Their vectors may have come ready-made: the option for texts is named."""
    with ScriptedServer() as server:
        server.answer("ListItems", ListItemsResponse(items=[Item(item_id="i1")]))
        result = bench(server.address, "--call", "embed")
    assert result.exit_code == 1
    assert "give texts to embed with --texts FILE" in result.stderr


def test_a_refusal_says_what_to_pass():
    """The server's words, and the option."""
    with ScriptedServer() as server:
        server.answer("GetServerInfo", Failure(grpc.StatusCode.PERMISSION_DENIED, "who is it"))
        result = bench(server.address)
    assert result.exit_code == 1
    assert "who is it" in result.stderr
    assert "give a key that may do this with --api-key-file FILE" in result.stderr


def test_a_step_with_a_late_generator_or_failures_is_noted():
    """The warning says what to do, and failures have their codes."""
    step = {"rate": 100.0, "is_generator_slow": True, "generator_lag_ms": {"p99": 50.0}, "failed": 0}
    failed = {"in_flight": 4, "is_generator_slow": False, "failed": 3, "codes": {"OK": 5, "INTERNAL": 3}}
    warning, codes = notes([step, failed])
    assert warning.startswith("warning: 100/s: the calls were sent late, by up to 50 ms")
    assert "--workers" in warning
    assert codes == "4 in flight: not answered: INTERNAL 3"
