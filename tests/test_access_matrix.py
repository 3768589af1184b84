"""Who may call what: every rpc on the port, with every kind of key, over every kind of connection."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import grpc
import pytest
from access_files import Metadata, add_key, bearer, make_certificates, with_another_secret
from contract_rpcs import CONTRACT, HEALTH, REFLECTION, Rpc

from recwire_server.access.role import REQUIRED_ROLES, Role
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

WITHOUT_CERTIFICATE = "mTLS without a certificate"
TRANSPORTS = ("plain", "TLS", "mTLS", WITHOUT_CERTIFICATE)
SHOWN = ("no key", "no bearer", "unknown key", "wrong secret", *Role)


@dataclass(frozen=True)
class Ports:
    """A server for each kind of connection, reached by channels; and what callers show."""

    channels: dict[str, grpc.Channel]
    metadata: dict[str, Metadata]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Servers that ask for keys, for health and reflection too."""
    folder = tmp_path_factory.mktemp("access")
    keys_file = folder / "keys.json"
    keys = {role: add_key(keys_file, role) for role in Role}
    certificates = make_certificates(folder)
    trusted = certificates.authority.cert_pem.bytes()
    own = [(folder / name).read_bytes() for name in ("client-key.pem", "client.pem")]
    mutual = {**certificates.settings, "tls_client_ca_file": certificates.client_ca_file}
    with ExitStack() as exit_stack:

        def address(name: str, settings: dict[str, Path]) -> str:
            flags = {"listen": "127.0.0.1:0", "data_dir": folder / name, "keys_file": keys_file, "health_access": "key"}
            return exit_stack.enter_context(running_server(load_settings({**flags, **settings}), HashEncoder()))

        mutual_address = address("mutual", mutual)
        channels = {
            "plain": grpc.insecure_channel(address("plain", {})),
            "TLS": grpc.secure_channel(address("tls", certificates.settings), grpc.ssl_channel_credentials(trusted)),
            "mTLS": grpc.secure_channel(mutual_address, grpc.ssl_channel_credentials(trusted, *own)),
            WITHOUT_CERTIFICATE: grpc.secure_channel(mutual_address, grpc.ssl_channel_credentials(trusted)),
        }
        for channel in channels.values():
            exit_stack.enter_context(channel)
        metadata = {
            "no key": (),
            "no bearer": (("authorization", keys[Role.ADMIN]),),
            "unknown key": bearer(f"rw_{'0' * 12}_{'0' * 64}"),
            "wrong secret": bearer(with_another_secret(keys[Role.ADMIN])),
            **{role: bearer(key) for role, key in keys.items()},
        }
        yield Ports(channels, metadata)


def expected(rpc: Rpc, shown: str, transport: str) -> str:
    """Return what becomes of a call."""
    if transport == WITHOUT_CERTIFICATE:
        return "UNAVAILABLE"
    if shown not in list(Role):
        return "KEY_MISSING" if shown in ("no key", "no bearer") else "KEY_INVALID"
    return "admitted" if Role(shown).covers(REQUIRED_ROLES.get(rpc.name, Role.READ)) else "ROLE_TOO_LOW"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rpc", [*CONTRACT, *HEALTH, *REFLECTION], ids=lambda rpc: rpc.name)
def test_a_call_passes_with_a_valid_key_of_a_sufficient_role(rpc: Rpc, transport: str, ports: Ports):
    """And with no other; over mTLS without a certificate there is no connection."""
    outcomes = {shown: rpc.outcome(ports.channels[transport], ports.metadata[shown]) for shown in SHOWN}
    assert outcomes == {shown: expected(rpc, shown, transport) for shown in SHOWN}


def test_the_table_of_roles_names_every_rpc():
    """Each rpc of the contract has a role, and nothing else has."""
    assert set(REQUIRED_ROLES) == {rpc.name for rpc in CONTRACT}


def test_roles_are_nested():
    """Each may do what those before it may."""
    assert [(a, b) for a, b in product(Role, Role) if a.covers(b)] == [
        (Role.READ, Role.READ),
        (Role.WRITE, Role.READ),
        (Role.WRITE, Role.WRITE),
        (Role.ADMIN, Role.READ),
        (Role.ADMIN, Role.WRITE),
        (Role.ADMIN, Role.ADMIN),
    ]


@pytest.mark.parametrize(
    ("settings", "health", "reflection"),
    [
        ({}, "admitted", "KEY_MISSING"),
        ({"health_access": "key", "reflection": "open"}, "KEY_MISSING", "admitted"),
        ({"reflection": "off"}, "admitted", "UNIMPLEMENTED"),
    ],
    ids=["by default", "the other way round", "off"],
)
def test_health_and_reflection_are_open_or_closed_by_setting(settings, health, reflection, start_server, tmp_path):
    """To who shows no key."""
    add_key(tmp_path / "keys.json", Role.READ)
    server = start_server(keys_file=tmp_path / "keys.json", **settings)
    with grpc.insecure_channel(server.address) as channel:
        assert {rpc.outcome(channel) for rpc in HEALTH} == {health}
        assert {rpc.outcome(channel) for rpc in REFLECTION} == {reflection}


def test_without_keys_everybody_may_do_everything(hash_server):
    """Reflection included; that is why such a server stays on loopback."""
    with grpc.insecure_channel(hash_server.address) as channel:
        assert {rpc.outcome(channel) for rpc in (*CONTRACT, *HEALTH, *REFLECTION)} == {"admitted"}


@pytest.mark.parametrize("transport", TRANSPORTS[:3])
def test_strangers_learn_nothing_of_a_request_that_does_not_parse(transport: str, ports: Ports):
    """The key comes first, before the bytes of the request are looked at."""
    outcomes = {rpc.outcome(ports.channels[transport], request=b"\xff" * 20) for rpc in CONTRACT}
    assert outcomes == {"KEY_MISSING"}
