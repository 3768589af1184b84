"""recwire-server keys: making, showing and revoking keys, and the file that keeps them."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from access_files import add_key
from typer.testing import CliRunner, Result

from recwire_server.access import KeyFileError
from recwire_server.access.key_file import changing_keys, read_keys
from recwire_server.access.role import Role
from recwire_server.cli import app


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """Where keys are to be kept; there is no file yet."""
    return tmp_path / "keys.json"


def keys(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, arguments)], env={"COLUMNS": "200"}, terminal_width=200)


def create(keys_file: Path, *arguments: str) -> Result:
    return keys("create", "--keys-file", keys_file, *arguments)


def test_create_prints_the_key_and_nothing_else(keys_file: Path):
    """On standard output, to be piped; what a person should know stands on standard error."""
    made = create(keys_file, "--role", "read")
    assert made.exit_code == 0
    assert made.stdout.startswith("rw_")
    assert len(made.stdout.split()) == 1
    assert "not shown again" in made.stderr


def test_the_file_has_a_hash_in_place_of_the_secret(keys_file: Path):
    """Argon2id, and what else there is to know of the key; nobody but its owner reads it."""
    made = create(keys_file, "--role", "write", "--name", "shop", "--id-prefix", "acme/", "--expires-in", "30")
    _, key_id, secret = made.stdout.strip().split("_")

    (key,) = json.loads(keys_file.read_text())["keys"]

    assert (key["id"], key["name"], key["role"], key["id_prefix"]) == (key_id, "shop", "write", "acme/")
    assert key["secret_hash"].startswith("$argon2id$")
    assert secret not in keys_file.read_text()
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600


def test_list_shows_all_but_secrets(keys_file: Path):
    """One line a key, with its id, by which it is revoked."""
    text = create(keys_file, "--role", "write", "--name", "shop", "--id-prefix", "acme/").stdout.strip()

    shown = keys("list", "--keys-file", keys_file)

    _, key_id, secret = text.split("_")
    assert shown.exit_code == 0
    assert all(word in shown.stdout for word in (key_id, "write", "shop", "acme/", "never"))
    assert secret[:8] not in shown.stdout


def test_revoke_removes_a_key(keys_file: Path):
    """The others stay."""
    first, second = (create(keys_file, "--role", "read").stdout.split("_")[1] for _ in range(2))
    assert keys("revoke", first, "--keys-file", keys_file).exit_code == 0
    assert list(read_keys(keys_file)) == [second]


def test_an_unknown_key_cannot_be_revoked(keys_file: Path):
    """Status 1, and the file stays as it was."""
    add_key(keys_file, Role.READ)
    before = keys_file.read_bytes()

    ended = keys("revoke", "000000000000", "--keys-file", keys_file)

    assert ended.exit_code == 1
    assert "keys list" in ended.stderr
    assert keys_file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--role", "admin", "--id-prefix", "acme/"], "--id-prefix"),
        (["--role", "read", "--expires-in", "0"], "--expires-in"),
        (["--role", "read", "--expires-in", "nan"], "--expires-in"),
        (["--role", "read", "--name", "a\nb"], "--name"),
        (["--role", "read", "--id-prefix", "x" * 129], "--id-prefix"),
        (["--role", "owner"], "--role"),
        ([], "--role"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: list[str], told: str, keys_file: Path):
    """The option is named, and no file is made."""
    ended = create(keys_file, *arguments)
    assert ended.exit_code == 2
    assert told in ended.stderr
    assert not keys_file.exists()


@pytest.mark.parametrize(("command", "status"), [(["list"], 1), (["revoke", "0123456789ab"], 2)])
def test_a_missing_file_is_named(command: list[str], status: int, keys_file: Path):
    """Showing and revoking make none."""
    ended = keys(*command, "--keys-file", keys_file)
    assert ended.exit_code == status
    assert str(keys_file) in ended.stderr
    assert not keys_file.exists()


def test_commands_at_the_same_time_lose_nothing(keys_file: Path):
    """Each key that was printed is in the file."""
    command = [
        sys.executable,
        "-m",
        "recwire_server",
        "keys",
        "create",
        "--keys-file",
        str(keys_file),
        "--role",
        "read",
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    made = [process.communicate()[0].split("_")[1] for process in processes]
    assert sorted(read_keys(keys_file)) == sorted(made)


def test_a_file_keeps_its_mode_and_its_link(keys_file: Path, tmp_path: Path):
    """A server that runs as another user of the group reads it after a change as before."""
    add_key(keys_file, Role.READ)
    keys_file.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(keys_file)

    add_key(link, Role.READ)

    assert link.is_symlink()
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o640
    assert len(read_keys(keys_file)) == 2


def test_a_change_that_fails_leaves_the_file_as_it_was(keys_file: Path):
    """And nothing beside it."""
    add_key(keys_file, Role.READ)
    before = keys_file.read_bytes()
    with pytest.raises(KeyError), changing_keys(keys_file) as found:
        del found[found.popitem()[0]]
    assert keys_file.read_bytes() == before
    assert os.listdir(keys_file.parent) == [keys_file.name]


GOOD = {
    "id": "0123456789ab",
    "name": "",
    "role": "read",
    "id_prefix": "",
    "create_time": "2026-01-02T03:04:05+00:00",
    "expire_time": None,
    "secret_hash": "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$" + 43 * "a",
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"version": 2, "keys": []}',
        '{"version": 1}',
        json.dumps({"version": 1, "keys": [GOOD, GOOD]}),
        *(
            json.dumps({"version": 1, "keys": [GOOD | wrong]})
            for wrong in (
                {"id": 7},
                {"role": "owner"},
                {"role": "admin", "id_prefix": "a"},
                {"create_time": "yesterday"},
                {"expire_time": "2026-01-02T03:04:05"},
                {"secret_hash": "in the clear"},
            )
        ),
    ],
)
def test_a_file_that_is_none_of_keys_is_refused(content: str, keys_file: Path):
    """By its name, and without what is in it."""
    keys_file.write_text(content)
    with pytest.raises(KeyFileError, match=r"keys\.json") as raised:
        read_keys(keys_file)
    assert "in the clear" not in str(raised.value)


def test_a_key_file_of_this_version_is_read(keys_file: Path):
    """What the tests above take something from is sound as a whole."""
    keys_file.write_text(json.dumps({"version": 1, "keys": [GOOD]}))
    assert list(read_keys(keys_file)) == ["0123456789ab"]
