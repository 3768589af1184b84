"""The keys on disk.

A JSON file, mode 0600, of version 1:

    {"version": 1, "keys": [{"id": "0123456789ab", "name": "shop", "role": "read" | "write" | "admin",
     "id_prefix": "", "create_time": "2026-01-02T03:04:05+00:00", "expire_time": null or a time,
     "secret_hash": "$argon2id$...", "limits": ["100/second"]}]}

Times are ISO 8601 with an offset; limits may be left out. Whoever can write the file can give themselves a key; whoever
can read it cannot.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from argon2.low_level import Type

from recwire_server.access import KeyFileError
from recwire_server.access.key import Key
from recwire_server.access.rate_limit import parse_limit
from recwire_server.access.role import Role
from recwire_server.disk import sync

VERSION = 1
MODE = 0o600


def read_keys(path: Path) -> dict[str, Key]:
    """Return the keys of a file by their ids, in its order; raises KeyFileError."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise KeyFileError(
            f"keys file {path} cannot be read: {error.strerror}; `recwire-server keys create` makes one"
        ) from error
    except ValueError as error:
        raise KeyFileError(f"keys file {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("version") != VERSION or not isinstance(content.get("keys"), list):
        raise KeyFileError(f"keys file {path} is none of version {VERSION}: `recwire-server keys create` makes one")
    keys = [_key(entry, f"keys[{i}] in {path}") for i, entry in enumerate(content["keys"])]
    by_id = {key.id: key for key in keys}
    if len(by_id) < len(keys):
        raise KeyFileError(f"keys file {path} has two keys of one id; remove one of them")
    return by_id


@contextmanager
def changing_keys(path: Path) -> Iterator[dict[str, Key]]:
    """Yield the keys of a file, to be changed in the block; at its end they are on the disk. Raises KeyFileError.

    A file that is missing is made. Commands that do this at the same time wait for each other; who reads meanwhile
    finds the keys before or after. An exception in the block leaves the file as it was.
    """
    path = path.resolve()  # a link stays one
    try:
        with _locked(path.parent):
            keys = read_keys(path) if path.exists() else {}
            yield keys
            _write(path, keys)
    except OSError as error:
        raise KeyFileError(f"keys file {path} cannot be written: {error.strerror}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder: a file that is replaced cannot have its own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, keys: dict[str, Key]) -> None:
    """Replace the file by one with these keys, which outlives a power loss. Who owned it, and may read it, still does:
    a server that runs as another user must be able to read what an administrator wrote."""
    content = {"version": VERSION, "keys": [_entry(key) for key in keys.values()]}
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            mode = MODE
            if path.exists():
                before = path.stat()
                mode = before.st_mode & 0o777
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync(path.parent)


def _entry(key: Key) -> dict[str, str | list[str] | None]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role.value,
        "id_prefix": key.id_prefix,
        "create_time": key.create_time.isoformat(),
        "expire_time": key.expire_time.isoformat() if key.expire_time else None,
        "secret_hash": key.secret_hash,
        "limits": list(key.limits),
    }


def _key(entry: Any, place: str) -> Key:
    """Return the key that an entry is; a message of what is wrong with it never has its values."""
    if not isinstance(entry, dict):
        raise KeyFileError(f"{place} is no object")
    for name in ("id", "name", "role", "id_prefix", "create_time", "secret_hash"):
        if not isinstance(entry.get(name), str):
            raise KeyFileError(f"{place} has no {name}, or one that is no text")
    if entry["role"] not in list(Role):
        raise KeyFileError(f"{place} has a role that is none of {', '.join(Role)}")
    role = Role(entry["role"])
    if role is Role.ADMIN and entry["id_prefix"]:
        raise KeyFileError(f"{place} has role admin and an id_prefix; an admin key has none")
    try:
        is_argon2id = extract_parameters(entry["secret_hash"]).type is Type.ID
    except InvalidHashError:
        is_argon2id = False
    if not is_argon2id:
        raise KeyFileError(f"{place} has a secret_hash that is none of Argon2id")
    create_time = _time(entry, "create_time", place)
    expire_time = None if entry.get("expire_time") is None else _time(entry, "expire_time", place)
    return Key(
        entry["id"],
        entry["name"],
        role,
        entry["id_prefix"],
        create_time,
        expire_time,
        entry["secret_hash"],
        _limits(entry.get("limits", []), place),
    )


def _limits(texts: Any, place: str) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise KeyFileError(f'{place} has limits that are no list of texts, such as ["100/second"]')
    for text in texts:
        try:
            parse_limit(text)
        except ValueError as error:
            raise KeyFileError(f"{place} has limits of which {error}") from error
    return tuple(texts)


def _time(entry: dict[str, Any], name: str, place: str) -> datetime:
    try:
        time = datetime.fromisoformat(entry[name])
    except (TypeError, ValueError) as error:
        raise KeyFileError(f"{place} has an {name} that is no time; write 2026-01-02T03:04:05+00:00") from error
    if time.tzinfo is None:
        raise KeyFileError(f"{place} has an {name} without an offset; write 2026-01-02T03:04:05+00:00")
    return time
