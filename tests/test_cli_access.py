"""Commands that call a server: with a key and over TLS, and what they say where those are missing."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from access_files import CertificateFiles, make_certificates
from scripted_server import Failure, ScriptedServer
from typer.testing import CliRunner, Result

from recwire_server.cli import app

KEY = "rw_0123456789abcdef"
COMMANDS = {
    "items": (["import", "items", "{items}"], "ImportItems"),
    "events": (["import", "events", "{events}"], "UpdateUser"),
    "check": (["check"], "CheckUsers"),
    "explain": (["explain", "ada", "i1"], "GetItem"),
}
EVERY_COMMAND = pytest.mark.parametrize(("command", "rpc"), COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


class Run:
    """Runs commands on files of a test's own, against an address."""

    def __init__(self, folder: Path) -> None:
        self._files = {"{items}": folder / "items.jsonl", "{events}": folder / "events.jsonl"}
        self._files["{items}"].write_text('{"id": "i1", "title": "title 1"}\n')
        self._files["{events}"].write_text('{"user": "ada", "item": "i1"}\n')

    def __call__(self, command: list[str], address: str, *options: object, environment_key: str = "") -> Result:
        given = [str(self._files.get(word, word)) for word in (*command, "--to", address, *options)]
        return CliRunner().invoke(app, given, env={"RECWIRE_API_KEY": environment_key})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "api.key"
    file.write_text(f"{KEY}\n")
    return file


@EVERY_COMMAND
def test_a_command_brings_the_key_over_tls(run, key_file, files: CertificateFiles, command, rpc):
    """The key of a file, whose line end is not part of it, and a certificate for a server that asks for one."""
    tls = ["--ca-file", files.ca, "--client-certificate-file", files.certificate, "--client-key-file", files.key]
    with ScriptedServer(files.server_credentials(asks_for_certificate=True)) as server:
        result = run(command, server.address, "--api-key-file", key_file, *tls)
        assert (rpc, f"Bearer {KEY}") in [(call.rpc, call.authorization) for call in server.received], result.output


@EVERY_COMMAND
def test_a_key_can_be_in_the_environment(run, server, key_file, command, rpc):
    """In RECWIRE_API_KEY; a file goes before it."""
    run(command, server.address, environment_key="other")
    run(command, server.address, "--api-key-file", key_file, environment_key="other")
    keys = [call.authorization for call in server.received if call.rpc == rpc]
    assert list(dict.fromkeys(keys)) == ["Bearer other", f"Bearer {KEY}"]


@EVERY_COMMAND
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "give a key that the server knows with --api-key-file FILE"),
        (grpc.StatusCode.PERMISSION_DENIED, "give a key that may do this with --api-key-file FILE"),
    ],
)
def test_a_refusal_says_what_to_pass(run, server, command, rpc, code, told):
    """Status 1, the server's own words, and the option; at once, for trying again would not help."""
    server.answer(rpc, Failure(code, "who is it"))
    result = run(command, server.address)
    assert result.exit_code == 1
    assert "who is it" in result.stderr
    assert told in result.stderr
    assert len(server.requests(rpc)) == 1


@EVERY_COMMAND
def test_plain_text_to_a_server_of_tls_is_told(run, files: CertificateFiles, command, rpc):
    """The error names the options that are missing."""
    patience = ["--retry-for", "1"] if command[0] == "import" else []
    with ScriptedServer(files.server_credentials(asks_for_certificate=True)) as server:
        result = run(command, server.address, *patience)
    assert result.exit_code == 1
    assert "if it speaks TLS, give --tls or --ca-file FILE" in result.stderr


def test_a_key_goes_beyond_this_machine_over_tls_only(run, key_file):
    """Status 2, before anything is sent."""
    for command, _ in COMMANDS.values():
        result = run(command, "recwire.example.org:443", "--api-key-file", key_file)
        assert result.exit_code == 2
        assert "over TLS only: give --tls, or --ca-file FILE" in result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--api-key-file", "none.key"], "none.key cannot be read"),
        (["--ca-file", "none.pem"], "none.pem cannot be read"),
        (["--ca-file", "{items}"], "is no PEM file"),
        (["--client-key-file", "{items}"], "go together"),
    ],
)
def test_a_file_that_cannot_be_used_is_wrong_usage(run, server, options, told):
    """Status 2, with the file."""
    result = run(["check"], server.address, *options)
    assert result.exit_code == 2
    assert told in result.stderr
