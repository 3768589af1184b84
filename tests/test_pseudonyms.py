"""With a key for user ids, nothing on disk has one, and no caller notices."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from filled_directory import serving
from google.protobuf.message import Message
from server_process import hash_serving
from typer.testing import CliRunner

import recwire
from recwire import Client, Event, Item, RecommendOptions, RecommendResponse, StoredEvent, UserUpdate
from recwire_server.cli import app
from recwire_server.importing.event import EventReader
from recwire_server.importing.source import Row
from recwire_server.setting_source import SettingsError, load_settings
from recwire_server.store import DataDirectoryError
from recwire_server.user_id import UserIdKeyError, UserIds

ADA, BEA = "ada.lovelace@example.org", "Bēa ☂"
KEY = bytes(range(32))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "user-ids.key"
    file.write_bytes(KEY)
    return file


def write(client: Client) -> None:
    """Tell of two users, one of them through a stream."""
    client.upsert_items([Item(item_id=f"i{n}", title=f"title {n} {n % 3}") for n in range(9)])
    client.update_user(ADA, [Event(event_id="a1", item_id="i1"), Event(event_id="a2", text="title 2")])
    updates = [UserUpdate(BEA, [Event(event_id="b1", item_id="i4"), Event(event_id="b2", item_id="i5")])]
    assert [outcome.error for outcome in client.update_user_stream(updates)] == [None]


def pseudonym(user_id: str) -> str:
    mac = hmac.digest(KEY, b"recwire user id\0" + user_id.encode(), hashlib.sha256)
    return urlsafe_b64encode(mac).decode().rstrip("=")


def test_no_file_has_a_user_id(start_server: StartServer, key_file: Path, tmp_path: Path):
    """Neither the database, nor its log, nor a backup; without a key the same search finds them."""
    write(start_server(data_dir=tmp_path / "keyed", user_id_key_file=key_file).client)
    write(start_server(data_dir=tmp_path / "plain").client)
    saved = CliRunner().invoke(app, ["backup", "--data-dir", str(tmp_path / "keyed"), str(tmp_path / "saved")])
    assert saved.exit_code == 0, saved.output

    plain, keyed, backup = (content(tmp_path / name) for name in ("plain", "keyed", "saved"))

    for user_id in (ADA, BEA):
        assert user_id.encode() in plain
        assert user_id.encode() not in keyed + backup
        assert pseudonym(user_id).encode() in backup


def content(folder: Path) -> bytes:
    """Return what is in all files of a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_every_rpc_answers_as_without(start_server: StartServer, key_file: Path, tmp_path: Path):
    """What is told of a user is the same, also after events were taken back and a user erased."""
    keyed = start_server(data_dir=tmp_path / "keyed", user_id_key_file=key_file).client
    plain = start_server(data_dir=tmp_path / "plain").client
    write(keyed)
    write(plain)
    assert keyed.get_user(BEA).user_id == BEA
    assert answers(keyed) == answers(plain)


def answers(client: Client) -> list[Message]:
    """Return what the rpcs answer that take a user's id; some of them change what is stored."""
    told: list[Message] = []
    for user_id in (ADA, BEA):
        told += [client.recommend(user_id, explain=True), client.recommend(user_id, ignore_event_ids=["a1", "b1"])]
        told += [client.get_user(user_id), *client.list_events(user_id), *client.export_user(user_id)]
    told.append(client.update_user(ADA, [Event(event_id="a1", item_id="i1")], recommend=RecommendOptions()))
    told += [client.recommend(BEA, rotation=RecommendOptions(rotation={"seconds": 60}).rotation)]
    told += [client.forget_events(BEA, ["b1"]), client.get_user(BEA), client.delete_user(ADA), client.recommend(ADA)]
    return [without_names_and_times(message) for message in told]


def without_names_and_times(message: Any) -> Any:
    """Return an answer without its id, which is made of the user's, and without the times of events."""
    for part in (message, getattr(message, "recommendation", None), *getattr(message, "newest_events", ())):
        if isinstance(part, StoredEvent):
            part.ClearField("record_time")
            part.event.ClearField("event_time")
        elif isinstance(part, RecommendResponse):
            part.ClearField("recommendation_id")
    return message


ASK_OF_ZOE: dict[str, Callable[[Client], object]] = {
    "get": lambda client: client.get_user("Zoë"),
    "list": lambda client: list(client.list_events("Zoë")),
    "export": lambda client: list(client.export_user("Zoë")),
    "forget": lambda client: client.forget_events("Zoë", ["e"]),
    "delete": lambda client: client.delete_user("Zoë"),
}


@pytest.mark.parametrize("ask", ASK_OF_ZOE.values(), ids=ASK_OF_ZOE)
def test_an_unknown_user_is_named_as_the_caller_does(start_server: StartServer, key_file: Path, ask):
    """The message has the caller's id: of a pseudonym nobody could tell whose it is."""
    with pytest.raises(recwire.NotFoundError) as raised:
        ask(start_server(user_id_key_file=key_file).client)
    assert (raised.value.message, raised.value.reason) == ("user 'Zoë' has no events", "USER_NOT_FOUND")


def test_the_same_key_opens_the_directory_again(key_file: Path, tmp_path: Path):
    """After a crash users are who they were, and the checks of live users and of the stopped directory pass."""
    with hash_serving(tmp_path / "data", user_id_key_file=str(key_file)) as server:
        write(server.client)
        server.kill9()
    with hash_serving(tmp_path / "data", user_id_key_file=str(key_file)) as server:
        assert server.client.get_user(ADA).event_count == 2
        assert [list(answer.differing_user_ids) for answer in server.client.check_users()] == [[]]
        assert server.terminate() == 0
    checked = CliRunner().invoke(app, ["check", "--data-dir", str(tmp_path / "data")])
    assert checked.exit_code == 0, checked.output


def test_a_backup_is_restored_with_its_key_only(key_file: Path, tmp_path: Path):
    """What was saved is as pseudonymous as it was, and takes the same key."""
    data, saved, restored = (tmp_path / name for name in ("data", "saved", "restored"))
    with serving(data, user_id_key_file=key_file) as client:
        write(client)
    for command in (["backup", "--data-dir", data, saved], ["restore", saved, "--data-dir", restored]):
        done = CliRunner().invoke(app, [str(part) for part in command])
        assert done.exit_code == 0, done.output
    with serving(restored, user_id_key_file=key_file) as client:
        assert client.get_user(BEA).event_count == 2
    with pytest.raises(DataDirectoryError, match="--user-id-key-file"), serving(restored):
        pass


@pytest.mark.parametrize("is_erased", [False, True], ids=["has-a-user", "had-a-user"])
def test_a_directory_with_user_ids_takes_no_key(key_file: Path, tmp_path: Path, is_erased):
    """Those that are there would stay, also in what the database has not overwritten yet of an erased user."""
    with serving(tmp_path / "data") as client:
        client.update_user(ADA, [Event(event_id="a1", item_id="i1")])
        if is_erased:
            client.delete_user(ADA)
    with pytest.raises(DataDirectoryError, match="choose an empty --data-dir"):
        serving(tmp_path / "data", user_id_key_file=key_file).__enter__()


def test_another_key_or_none_is_refused(key_file: Path, tmp_path: Path):
    """Their users would all be new ones; the error has the fingerprints of both keys, and not the keys."""
    with serving(tmp_path / "data", user_id_key_file=key_file) as client:
        client.update_user(ADA, [Event(event_id="a1", item_id="i1")])
    other = tmp_path / "other.key"
    other.write_bytes(KEY[::-1])
    with pytest.raises(DataDirectoryError) as raised:
        serving(tmp_path / "data", user_id_key_file=other).__enter__()
    assert fingerprint(key_file) in str(raised.value)
    assert fingerprint(other) in str(raised.value)
    with pytest.raises(DataDirectoryError, match="no key was given"):
        serving(tmp_path / "data").__enter__()


def fingerprint(key_file: Path) -> str:
    user_ids = UserIds(key_file)
    user_ids.start()
    assert user_ids.key_fingerprint
    return user_ids.key_fingerprint


def test_a_directory_without_events_takes_a_key(key_file: Path, tmp_path: Path):
    """A catalogue may be there before the key is."""
    with serving(tmp_path / "data") as client:
        client.upsert_items([Item(item_id="i1", title="title 1")])
    with serving(tmp_path / "data", user_id_key_file=key_file) as client:
        client.update_user(ADA, [Event(event_id="a1", item_id="i1")])
        assert client.get_user(ADA).event_count == 1


def test_a_key_in_the_data_directory_is_refused(tmp_path: Path):
    """Also where a link leads there: copies of the directory would have the key with them."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(SettingsError, match=r"user_id_key_file .* lies in data_dir"):
        load_settings({"data_dir": tmp_path / "data", "user_id_key_file": tmp_path / "link/key"})


@pytest.mark.parametrize(
    ("size", "told"), [(None, "cannot be read"), (31, "has 31 bytes"), (4097, "has more than 4,096 bytes")]
)
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, size: int | None, told: str):
    """Missing, too short, or so long that another file was meant: the error says how to make one."""
    file = tmp_path / "key"
    if size is not None:
        file.write_bytes(bytes(size))
    with pytest.raises(UserIdKeyError, match=f"{told}.*openssl rand"):
        UserIds(file).start()


def test_event_ids_of_imports_do_not_tell_the_user():
    """An id that the importer makes is of the rest of the row alone; equal rows of a user still differ."""
    rows = [{"user": user, "item": "7", "timestamp": "10"} for user in (ADA, BEA, ADA)]
    reader = EventReader()
    ids = [reader.read(Row(number, row)).event.event_id for number, row in enumerate(rows, 1)]
    assert ids == [ids[0], ids[0], f"{ids[0]}-2"]
