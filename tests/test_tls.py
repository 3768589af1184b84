"""TLS: what connects, certificates that change while the server runs, and what a server refuses to start with."""

import json
import logging
import os
import queue
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from access_files import CertificateFiles, add_key, make_certificates
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from server_process import failed_start, hash_serving, serving
from typer.testing import CliRunner

from recwire.v1.recommender_service_pb2 import EmbedRequest, EmbedStreamRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.access import CertificateError
from recwire_server.access.role import Role
from recwire_server.cli import app
from recwire_server.setting_source import SettingsError, load_settings

TIMEOUT_S = 30.0


@pytest.fixture
def certificates(tmp_path: Path) -> CertificateFiles:
    """A server's certificates."""
    return make_certificates(tmp_path)


@contextmanager
def connected(address: str, trusted: bytes) -> Iterator[grpc.Channel]:
    """A channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted), options=options) as channel:
        yield channel


def connects(address: str, certificates: CertificateFiles) -> bool:
    """Return whether a new client that trusts this authority is served."""
    with connected(address, certificates.authority.cert_pem.bytes()) as channel:
        try:
            HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
        return True


def test_new_certificates_serve_the_next_connection(start_server, certificates: CertificateFiles):
    """Connections that are open go on with the old ones, and so do the calls on them."""
    server = start_server(**certificates.settings)
    with connected(server.address, certificates.authority.cert_pem.bytes()) as channel:
        messages: queue.Queue[EmbedStreamRequest | None] = queue.Queue()
        stream = RecommenderServiceStub(channel).EmbedStream(iter(messages.get, None), timeout=TIMEOUT_S)
        messages.put(EmbedStreamRequest(request=EmbedRequest(texts=["a"])))
        assert next(stream).response.dimension

        renewed = make_certificates(certificates.folder)

        assert connects(server.address, renewed)
        assert not connects(server.address, certificates)
        messages.put(EmbedStreamRequest(request=EmbedRequest(texts=["b"])))
        assert next(stream).response.dimension
        messages.put(None)
        assert list(stream) == []


@pytest.mark.parametrize("name", ["server.pem", "server-key.pem"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nhalf", None], ids=["empty", "half", "another"])
def test_a_broken_pair_leaves_the_old_one(name, content, start_server, certificates: CertificateFiles, caplog):
    """The log says so once, and the next whole pair is taken."""
    server = start_server(**certificates.settings)
    other = certificates.folder / "other"
    other.mkdir()
    make_certificates(other)
    (certificates.folder / name).write_bytes((other / name).read_bytes() if content is None else content)

    assert connects(server.address, certificates)
    assert connects(server.address, certificates)

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["stay as they were" in record.message for record in warnings] == [True]
    assert connects(server.address, make_certificates(certificates.folder))


def test_sighup_reads_certificates_again(certificates: CertificateFiles, tmp_path: Path):
    """And ends nothing: the next connection finds a server with what is in the files."""
    settings = {name: str(path) for name, path in certificates.settings.items()}
    with hash_serving(tmp_path / "data", **settings) as server:
        renewed = make_certificates(certificates.folder)
        os.kill(server.pid, signal.SIGHUP)
        assert connects(server.address, renewed)
        assert server.terminate() == 0


def test_a_client_without_tls_is_not_served(start_server, certificates: CertificateFiles):
    """It has no connection at all."""
    server = start_server(**certificates.settings)
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as raised:
        HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_strangers_write_nothing_into_the_log(certificates: CertificateFiles, int8_model: Path, tmp_path: Path):
    """Handshakes that fail leave no line of gRPC's own: each line is one of ours."""
    log = tmp_path / "log"
    flags = [f"--{name.replace('_', '-')}={path}" for name, path in certificates.settings.items()]
    own = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    command = [*flags, "--log-format", "json"]
    with serving(int8_model, tmp_path / "data", *command, log=log, environment=own) as server:
        host, _, port = server.address.rpartition(":")
        for junk in (b"GET / HTTP/1.0\r\n\r\n", bytes(range(256))):
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(junk)
                stranger.settimeout(TIMEOUT_S)
                with suppress(ConnectionError):
                    stranger.recv(100)
        assert server.terminate() == 0
    lines = log.read_text().splitlines()
    assert lines
    assert all("logger" in json.loads(line) for line in lines)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["tls_certificate_file"], ["--tls-certificate-file", "--tls-key-file"]),
        (["tls_key_file"], ["--tls-certificate-file", "--tls-key-file"]),
        (["tls_client_ca_file"], ["--tls-client-ca-file", "--tls-certificate-file"]),
    ],
)
def test_settings_that_do_not_go_together_are_named(names: list[str], told: list[str]):
    """`serve` ends with status 2 and both of them, before anything is loaded."""
    flags = [word for name in names for word in (f"--{name.replace('_', '-')}", "x.pem")]
    ended = CliRunner().invoke(app, ["serve", *flags])
    assert ended.exit_code == 2
    assert all(name in ended.stderr for name in told)


CLOSED = {"tls_certificate_file": "c.pem", "tls_key_file": "k.pem", "keys_file": "keys.json"}


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051", "10.1.2.3:50051", "recwire.example.org:50051"])
@pytest.mark.parametrize("missing", [("keys_file",), ("tls_certificate_file", "tls_key_file"), tuple(CLOSED)])
def test_an_address_that_others_reach_needs_tls_and_keys(listen: str, missing: tuple[str, ...]):
    """Without either the server does not start, and says what to set."""
    flags = {name: value for name, value in CLOSED.items() if name not in missing}
    with pytest.raises(SettingsError) as raised:
        load_settings({"listen": listen, **flags})
    assert all(f"--{name.replace('_', '-')}" in str(raised.value) for name in (*CLOSED, "insecure"))
    assert load_settings({"listen": listen, **CLOSED}).listen == listen
    assert load_settings({"listen": listen, **flags, "insecure": True}).listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.9.10:0", "localhost:0", "[::1]:0"])
def test_loopback_needs_neither(listen: str):
    """Only this machine reaches it."""
    assert load_settings({"listen": listen}).listen == listen


@pytest.mark.parametrize("name", ["server.pem", "server-key.pem", "ca.pem"])
@pytest.mark.parametrize("content", [None, b"nonsense"], ids=["missing", "nonsense"])
def test_certificates_that_cannot_be_used_end_the_start(name, content, start_server, certificates: CertificateFiles):
    """The file is named, with what is wrong with it."""
    path = certificates.folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateError, match=name):
        start_server(**certificates.settings, tls_client_ca_file=certificates.client_ca_file)


def test_serve_ends_with_status_1_if_certificates_cannot_be_used(int8_model: Path, tmp_path: Path):
    """As for anything else that it finds wrong at its start."""
    flags = ["--tls-certificate-file", str(tmp_path / "c.pem"), "--tls-key-file", str(tmp_path / "k.pem")]
    ended = failed_start(int8_model, tmp_path / "data", *flags)
    assert ended.returncode == 1
    assert "c.pem" in ended.stderr


def test_a_server_on_every_address_serves_with_tls_and_keys(start_server, certificates: CertificateFiles, tmp_path):
    """As the message above asks for."""
    add_key(tmp_path / "keys.json", Role.READ)
    server = start_server(listen="0.0.0.0:0", keys_file=tmp_path / "keys.json", **certificates.settings)
    assert connects(server.address.replace("0.0.0.0", "127.0.0.1"), certificates)
