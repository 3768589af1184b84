"""Keys while a server runs: what is told of wrong ones, when changes take effect, and what the log has of them."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from access_files import add_key, bearer, revoke_key, with_another_secret
from contract_rpcs import reason_of
from error_details import ErrorDetails, error_of
from server_process import failed_start, serving

from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.catalog_service_pb2 import ListItemsRequest
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2 import EmbedRequest, EmbedStreamRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.access.keyring import MAX_CHECKS, Keyring
from recwire_server.access.role import Role
from recwire_server.errors import ExhaustedError, UnauthenticatedError
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

PATIENCE_S = 30.0  # for what takes a second
TIMEOUT_S = 30.0


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """A file with one key, of role read, that nobody in the test has."""
    path = tmp_path / "keys.json"
    add_key(path, Role.READ)
    return path


@pytest.fixture
def channel(start_server, keys_file: Path):
    """To a server that asks for these keys."""
    with grpc.insecure_channel(start_server(keys_file=keys_file).address) as channel:
        yield channel


def list_items(channel: grpc.Channel, text: str) -> None:
    CatalogServiceStub(channel).ListItems(ListItemsRequest(), metadata=bearer(text), timeout=TIMEOUT_S)


def refusal(channel: grpc.Channel, text: str) -> ErrorDetails:
    with pytest.raises(grpc.RpcError) as raised:
        list_items(channel, text)
    return error_of(raised.value)


def is_refused(channel: grpc.Channel, text: str) -> bool:
    try:
        list_items(channel, text)
    except grpc.RpcError as error:
        return reason_of(error) == "KEY_INVALID"
    return False


def call_until(holds: Callable[[], bool]) -> None:
    """Call, until it is as it should be."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it did not get there"


def test_a_key_that_is_not_valid_is_told_nothing_else(channel, keys_file: Path):
    """The answer is the same for an unknown id, a wrong secret, an expired key, and what is no key at all."""
    over = add_key(keys_file, Role.READ, expire_time=datetime.now(UTC))
    right = add_key(keys_file, Role.READ)
    call_until(lambda: not is_refused(channel, right))
    texts = [over, with_another_secret(right), f"rw_{'0' * 12}_{'0' * 64}", "nonsense"]

    errors = [refusal(channel, text) for text in texts]

    assert {error.code for error in errors} == {grpc.StatusCode.UNAUTHENTICATED}
    assert {error.details["ErrorInfo"].reason for error in errors} == {"KEY_INVALID"}
    assert len({error.message for error in errors}) == 1


def test_the_scheme_is_read_in_any_case(channel, keys_file: Path):
    """As HTTP has it."""
    right = add_key(keys_file, Role.READ)
    call_until(lambda: not is_refused(channel, right))
    CatalogServiceStub(channel).ListItems(ListItemsRequest(), metadata=(("authorization", f"bearer {right}"),))


def test_keys_come_and_go_while_the_server_runs(channel, keys_file: Path):
    """A new one is known, and a revoked one refused, within a second or so."""
    text = add_key(keys_file, Role.READ)
    call_until(lambda: not is_refused(channel, text))
    revoke_key(keys_file, text)
    call_until(lambda: is_refused(channel, text))


def test_a_key_expires_between_two_calls(start_server, keys_file: Path):
    """Also one that was found to be right before."""
    text = add_key(keys_file, Role.READ, expire_time=datetime.now(UTC) + timedelta(seconds=3))
    with grpc.insecure_channel(start_server(keys_file=keys_file).address) as channel:
        list_items(channel, text)
        call_until(lambda: is_refused(channel, text))


def test_a_stream_ends_being_served_when_its_key_is_revoked(channel, keys_file: Path):
    """What is sent on it from then on is refused, message by message."""
    text = add_key(keys_file, Role.READ)
    call_until(lambda: not is_refused(channel, text))
    message = EmbedStreamRequest(request=EmbedRequest(texts=["a"]))
    answers: list[str] = []

    def messages():
        yield message
        while "KEY_INVALID" not in answers:
            yield message

    for answer in RecommenderServiceStub(channel).EmbedStream(messages(), metadata=bearer(text), timeout=TIMEOUT_S):
        if not answers:
            revoke_key(keys_file, text)
        answers.append(answer.error.reason)

    assert answers[0] == ""
    assert answers[-1] == "KEY_INVALID"


@pytest.mark.parametrize("content", ["{", None], ids=["half written", "gone"])
def test_a_file_that_cannot_be_read_changes_nothing(content, start_server, keys_file: Path, caplog):
    """The keys that were there go on being valid; the log says so, once."""
    text = add_key(keys_file, Role.READ)
    with grpc.insecure_channel(start_server(keys_file=keys_file).address) as channel:
        keys_file.unlink()
        if content is not None:
            keys_file.write_text(content)
        call_until(lambda: is_refused(channel, "rw_x") and "the API keys stay as they were" in caplog.text)

        list_items(channel, text)
        keys_file.unlink(missing_ok=True)
        other = add_key(keys_file, Role.READ)
        call_until(lambda: not is_refused(channel, other))
    said = [record for record in caplog.records if "stay as they were" in record.message]
    assert len(said) <= 2  # of the broken file, and of the moment without one


async def test_wrong_keys_wait_in_a_bounded_queue(keys_file: Path):
    """What is new and more than may wait is refused at once, with a time to come back."""
    text = add_key(keys_file, Role.READ)
    wrong = [f"{text[:-4]}{n:04x}" for n in range(MAX_CHECKS + 10) if f"{n:04x}" != text[-4:]]
    async with Keyring(keys_file) as keyring:
        outcomes = await asyncio.gather(*(keyring.holder(text) for text in wrong), return_exceptions=True)

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds[:MAX_CHECKS] == [UnauthenticatedError] * MAX_CHECKS
    assert set(kinds[MAX_CHECKS:]) == {ExhaustedError}


async def test_a_key_is_checked_once(keys_file: Path):
    """However many calls bring it at the same time."""
    text = add_key(keys_file, Role.READ)
    async with Keyring(keys_file) as keyring:
        held = await asyncio.gather(*(keyring.holder(text) for _ in range(10 * MAX_CHECKS)))
    assert {key.id for key in held} == {text.split("_")[1]}


async def test_a_check_survives_the_call_that_began_it(keys_file: Path):
    """Another call with the same key, which waits for it, gets its answer."""
    text = add_key(keys_file, Role.READ)
    async with Keyring(keys_file) as keyring:
        first, second = (asyncio.create_task(keyring.holder(text)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).id == text.split("_")[1]
    assert first.cancelled()


def test_admin_calls_are_in_the_log_with_who_and_what_came_of_it(tmp_path: Path, keys_file: Path, caplog):
    """Refused ones too: the rpc, the key's id, the code and the caller's address, each as a field of the record."""
    caplog.set_level(logging.INFO, "recwire_server.audit")
    keys = {role: add_key(keys_file, role) for role in Role}
    settings = load_settings({"listen": "127.0.0.1:0", "data_dir": tmp_path / "data", "keys_file": keys_file})
    with running_server(settings, HashEncoder()) as address, grpc.insecure_channel(address) as channel:
        AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest(), metadata=bearer(keys[Role.ADMIN]))
        for metadata in (bearer(keys[Role.WRITE]), ()):
            with pytest.raises(grpc.RpcError):
                AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest(), metadata=metadata)
        list_items(channel, keys[Role.READ])

    lines = [record for record in caplog.records if record.name == "recwire_server.audit"]
    assert [(line.key_id, line.code) for line in lines] == [
        (keys[Role.ADMIN].split("_")[1], "OK"),
        (keys[Role.WRITE].split("_")[1], "PERMISSION_DENIED"),
        ("", "UNAUTHENTICATED"),
    ]
    assert {line.rpc for line in lines} == {"recwire.v1.AdminService/GetServerInfo"}
    assert all("127.0.0.1" in line.peer for line in lines)


def test_the_log_has_no_secrets_and_says_when_keys_were_read(int8_model: Path, tmp_path: Path, keys_file: Path):
    """At level debug: of keys that are right, wrong, or half there, nothing but ids. SIGHUP reads them at once."""
    keys = [add_key(keys_file, role) for role in Role]
    log = tmp_path / "log"
    flags = ["--log-level", "debug", "--keys-file", str(keys_file)]
    shown = [*keys, *map(with_another_secret, keys), keys[0][:40], keys[0] + "0", keys[0].removeprefix("rw_")]
    with serving(int8_model, tmp_path / "data", *flags, log=log) as server:
        with grpc.insecure_channel(server.address) as channel:
            for text in shown:
                with suppress(grpc.RpcError):
                    AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest(), metadata=bearer(text))
            os.kill(server.pid, signal.SIGHUP)
            call_until(lambda: is_refused(channel, "rw_x") and "API keys read again: 4" in log.read_text())
        assert server.terminate() == 0

    said = log.read_text()
    assert "AdminService/GetServerInfo by key" in said
    parts = {text.split("_")[-1][start : start + 16] for text in keys for start in range(0, 64, 16)}
    assert [part for part in parts if part in said] == []


def test_a_server_without_a_readable_keys_file_does_not_start(int8_model: Path, tmp_path: Path):
    """Status 1; the file is named, and the command that makes one."""
    ended = failed_start(int8_model, tmp_path / "data", "--keys-file", str(tmp_path / "none.json"))
    assert ended.returncode == 1
    assert "none.json" in ended.stderr
    assert "keys create" in ended.stderr
