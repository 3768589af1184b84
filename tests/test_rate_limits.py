"""Limits of keys: what is one call too many is refused until there is room, and nobody else notices."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from access_files import add_key, bearer
from conftest import StartServer
from error_details import ErrorDetails, error_of
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from typer.testing import CliRunner

from recwire import Event
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.access.rate_limit import parse_limit
from recwire_server.access.role import Role
from recwire_server.cli import app

TEXT = pb.EmbedRequest(texts=["a text"])


@pytest.fixture
def channel(start_server: StartServer, keys_file: Path) -> Iterator[grpc.Channel]:
    """To a server with these keys."""
    with grpc.insecure_channel(start_server(keys_file=keys_file).address) as channel:
        yield channel


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """Where the keys are."""
    return tmp_path / "keys.json"


@pytest.fixture
def limited(keys_file: Path) -> str:
    """A key that may make three calls an hour, and ten a day."""
    return add_key(keys_file, Role.WRITE, limits=("3/hour", "10/day"))


@pytest.fixture
def unlimited(keys_file: Path) -> str:
    """A key without limits."""
    return add_key(keys_file, Role.ADMIN)


def embed(channel: grpc.Channel, key: str) -> ErrorDetails | None:
    """Make a call; return why it is refused."""
    try:
        RecommenderServiceStub(channel).Embed(TEXT, metadata=bearer(key))
    except grpc.RpcError as error:
        return error_of(error)
    return None


def test_a_call_too_many_is_refused(limited: str, unlimited: str, channel: grpc.Channel):
    """RESOURCE_EXHAUSTED with whose limit it is, and the time until there is room; another key is served."""
    assert [embed(channel, limited) for _ in range(3)] == [None] * 3
    error = embed(channel, limited)
    assert error is not None
    assert (error.code, error.details["ErrorInfo"].reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    (violation,) = error.details["QuotaFailure"].violations
    assert violation.subject == f"key {limited.split('_')[1]}"
    assert "3 per 1 hour" in error.message
    assert 0 < error.details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() <= 3600
    assert embed(channel, unlimited) is None


def test_messages_of_a_stream_count(limited: str, unlimited: str, channel: grpc.Channel):
    """The stream is a call, and each message; what is too many is refused in its place, with the time to wait."""
    requests = [
        pb.UpdateUserStreamRequest(request=pb.UpdateUserRequest(user_id="ada", events=[Event(text=f"text {number}")]))
        for number in range(4)
    ]
    answers = list(RecommenderServiceStub(channel).UpdateUserStream(iter(requests), metadata=bearer(limited)))
    assert [answer.WhichOneof("outcome") for answer in answers] == ["response", "response", "error", "error"]
    assert answers[2].error.reason == "RATE_LIMITED"
    assert answers[2].error.HasField("retry_delay")


def test_health_and_admin_have_no_limits(keys_file: Path, channel: grpc.Channel):
    """Who asks how the server is is answered."""
    key = add_key(keys_file, Role.ADMIN, limits=("1/day",))
    for _ in range(3):
        assert HealthStub(channel).Check(HealthCheckRequest(), metadata=bearer(key)).status
        assert AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest(), metadata=bearer(key)).dimension


@pytest.fixture(autouse=True)
def _keys_are_there(keys_file: Path, unlimited: str) -> None:
    """A server needs its file of keys."""


@pytest.mark.parametrize("text", ["100/second", "5000/10 minutes", "1000000/day", "3 per hour"])
def test_limits_are_written_in_words(text: str):
    """A count and a time."""
    assert parse_limit(text).amount >= 1


@pytest.mark.parametrize("text", ["", "100", "100/", "100/fortnight", "0/second", "-1/second", "1.5/second"])
def test_what_is_no_limit_is_refused(text: str, tmp_path: Path):
    """`keys create` says how to write one, and makes no key."""
    with pytest.raises(ValueError, match=r"write 100/second|allows no call"):
        parse_limit(text)
    path = tmp_path / "other.json"
    done = CliRunner().invoke(app, ["keys", "create", "--keys-file", str(path), "--role", "read", "--limit", text])
    assert (done.exit_code, path.exists()) == (2, False)


def test_limits_are_kept_and_shown(tmp_path: Path):
    """In the file, and by `keys list`."""
    path = tmp_path / "other.json"
    create = ["keys", "create", "--keys-file", str(path), "--role", "read", "--limit", "7/second", "--limit", "9/day"]
    assert CliRunner().invoke(app, create).exit_code == 0
    shown = CliRunner().invoke(app, ["keys", "list", "--keys-file", str(path)], env={"COLUMNS": "200"}).stdout
    assert "7/second, 9/day" in shown
