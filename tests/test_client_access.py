"""How a client shows who calls: a key with every call, over TLS; and how it treats a server that is down."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from access_files import CertificateFiles, make_certificates
from scripted_server import METHODS, Caller, Failure, ScriptedServer
from test_client import BOTH, CALLS, VIEW

import recwire
from recwire import UserUpdate
from recwire.credentials import stays_on_machine
from recwire.service_config import RETRY_THROTTLING, service_config

KEY = "rw_0123456789abcdef"
STREAMS = [
    ("embed_stream", (["a"],), "EmbedStream"),
    ("update_user_stream", ([UserUpdate("ada", [VIEW])],), "UpdateUserStream"),
    ("export_user", ("ada",), "ExportUser"),
    ("check_users", (), "CheckUsers"),
]
EVERY_CALL = [*(one[:3] for one in CALLS), *STREAMS]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@BOTH
@pytest.mark.parametrize(("api_key", "sent"), [(KEY, f"Bearer {KEY}"), (None, None)])
def test_every_call_brings_the_key(server, client_class, api_key, sent):
    """Unary or streamed; without a key nothing is brought."""
    assert {rpc for _, _, rpc in EVERY_CALL} == METHODS.keys()
    with Caller(client_class, server.address, api_key=api_key) as call:
        for method, arguments, _ in EVERY_CALL:
            with suppress(recwire.ServerFaultError):  # the script's answers to streams are empty
                call(method, *arguments)
    assert {(received.rpc, received.authorization) for received in server.received} == {
        (rpc, sent) for _, _, rpc in EVERY_CALL
    }


@BOTH
def test_a_key_is_not_sent_in_plain_text_by_accident(client_class):
    """Beyond this machine it takes TLS, or a word that says so; the error does not show the key."""
    with pytest.raises(ValueError, match=r"in plain text.*tls_credentials.*allow_plaintext_api_key=True") as raised:
        client_class("recwire.example.org:443", api_key=KEY)
    assert KEY not in str(raised.value)
    client_class("recwire.example.org:443", api_key=KEY, credentials=recwire.tls_credentials())
    client_class("recwire.example.org:443", api_key=KEY, allow_plaintext_api_key=True)
    client_class("recwire.example.org:443")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.1.2.3:1",
        "localhost:50051",
        "LOCALHOST",
        "[::1]:50051",
        "dns:///localhost:50051",
        "dns:localhost:50051",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
        "ipv6:[::1]:50051",
        "unix:/run/recwire.sock",
        "unix:///run/recwire.sock",
        "unix-abstract:recwire",
    ],
)
def test_addresses_of_this_machine(address):
    """In all of gRPC's spellings."""
    assert stays_on_machine(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1:50051",
        "0.0.0.0:50051",
        "localhost.example.org:50051",
        "127.0.0.1.example.org:50051",
        "[fe80::1]:50051",
        "ipv4:127.0.0.1:1,10.0.0.1:2",
        "dns://8.8.8.8/localhost:50051",
        "xds:///localhost",
        "",
    ],
)
def test_addresses_that_may_be_elsewhere(address):
    """Names, addresses of several hosts, and whatever is not understood."""
    assert not stays_on_machine(address)


def test_a_proxy_does_not_see_a_key_for_this_machine(server, monkeypatch):
    """A proxy of the environment, which gRPC heeds, is passed by."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with recwire.Client(server.address, api_key=KEY) as client:
        client.get_server_info()
    assert [received.authorization for received in server.received] == [f"Bearer {KEY}"]


@BOTH
@pytest.mark.parametrize(
    ("api_key", "told"),
    [(f"{KEY}\n", r"'\\n', the 20th of 20"), (f"{KEY} x", "' ', the 20th"), ("ключ", "the 1th of 4"), ("", "empty")],
)
def test_what_is_no_key_is_refused(client_class, api_key, told):
    """As a file's last line end is: gRPC's own error would show the whole key, at the first call."""
    with pytest.raises(ValueError, match=told) as raised:
        client_class(api_key=api_key)
    assert KEY not in str(raised.value)


@BOTH
def test_a_client_does_not_show_its_key(server, client_class):
    """Not where it is printed, with all that it holds."""
    with Caller(client_class, server.address, api_key=KEY) as call:
        call("get_server_info")
        client = call._client
        held = [client, *vars(client).values(), *(vars(stub) for stub in vars(client._stubs).values())]
    assert KEY not in repr(held)


@BOTH
def test_tls_from_files(files, client_class):
    """The authority, the client's certificate and its key make calls possible; the key of the API goes along."""
    credentials = recwire.tls_credentials(ca_file=files.ca, certificate_file=files.certificate, key_file=str(files.key))
    with (
        ScriptedServer(files.server_credentials(asks_for_certificate=True)) as server,
        Caller(client_class, server.address, api_key=KEY, credentials=credentials) as call,
    ):
        call("get_server_info")
        assert [received.authorization for received in server.received] == [f"Bearer {KEY}"]


@pytest.mark.parametrize("is_server_known", [True, False])
def test_tls_that_does_not_fit_fails(files, is_server_known):
    """Without a certificate of the client's for a server that asks for one, and without the server's authority."""
    credentials = recwire.tls_credentials(ca_file=files.ca if is_server_known else None)
    with (
        ScriptedServer(files.server_credentials(asks_for_certificate=True)) as server,
        recwire.Client(server.address, credentials=credentials, timeout_s=2) as client,
        pytest.raises(recwire.TryLaterError),
    ):
        client.get_server_info()


def test_files_that_cannot_be_used_are_told(files, tmp_path):
    """One of two, one that is missing, and one that is no PEM."""
    with pytest.raises(ValueError, match="go together"):
        recwire.tls_credentials(certificate_file=files.certificate)
    with pytest.raises(FileNotFoundError):
        recwire.tls_credentials(ca_file=tmp_path / "none.pem")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ValueError, match=r"empty\.pem is no PEM file"):
        recwire.tls_credentials(ca_file=tmp_path / "empty.pem")


def test_a_server_that_is_down_is_not_hammered(server):
    """N calls make N attempts and, once, some more; after that each call is one attempt, and fails at once."""
    call_count, burst_count = 400, RETRY_THROTTLING["maxTokens"] // 2
    server.answer("Recommend", *[Failure(grpc.StatusCode.UNAVAILABLE)] * 10 * call_count)

    async def call_all(client: recwire.AsyncClient) -> Counter[type]:
        return Counter(
            map(
                type,
                await asyncio.gather(*(client.recommend("ada") for _ in range(call_count)), return_exceptions=True),
            )
        )

    async def run() -> tuple[int, int]:
        async with recwire.AsyncClient(server.address) as client:
            assert await call_all(client) == {recwire.UnavailableError: call_count}
            first = len(server.received)
            assert await call_all(client) == {recwire.UnavailableError: call_count}
            return first, len(server.received) - first

    first, second = asyncio.run(run())

    assert call_count < first <= call_count + burst_count
    assert second == call_count


def test_the_service_config_for_other_languages_is_the_client_s():
    """The file that they load is what this client uses; `make proto` writes it."""
    file = Path(__file__).parents[1] / "client/service_config.json"
    assert file.read_text(encoding="utf-8") == f"{service_config()}\n"
    assert {name["method"] for name in json.loads(file.read_text())["methodConfig"][0]["name"]} <= METHODS.keys()
