"""The ids under which users are kept: their own, or pseudonyms."""

import hmac
from base64 import urlsafe_b64encode
from pathlib import Path

MIN_KEY_BYTES = 32  # as many as the hash has: a shorter key would be what is guessed
MAX_KEY_BYTES = 4096  # nobody's key is longer: another file was named


class UserIdKeyError(Exception):
    """The file with the key cannot be used; the message says why, and what to do."""


class UserIds:
    """Gives the ids under which users are kept.

    key_file: what is kept is a pseudonym, urlsafe base64 of HMAC-SHA256(key, "recwire user id", 0, user_id), 43
    characters, which takes 2 us. The text before the id keeps the server's pseudonyms apart from whatever else is made
    with the same key. Without the key nobody can tell whose they are, also by trying all ids. None: the ids themselves.
    """

    def __init__(self, key_file: Path | None) -> None:
        self._key_file = key_file
        self._mac: hmac.HMAC | None = None
        self._key_fingerprint: str | None = None

    def start(self) -> None:
        """Read the key, all bytes of the file as they are; raises UserIdKeyError."""
        if self._key_file is not None:
            key = _read(self._key_file)
            self._mac = hmac.new(key, b"recwire user id\0", "sha256")
            self._key_fingerprint = hmac.digest(key, b"recwire fingerprint of a user id key", "sha256")[:8].hex()

    @property
    def key_fingerprint(self) -> str | None:
        """What tells keys apart, and nothing of the key; None: ids are kept as they are."""
        return self._key_fingerprint

    def stored(self, user_id: str) -> str:
        """Return the id under which a user is kept."""
        if self._mac is None:
            assert self._key_file is None, "start() comes first"
            return user_id
        mac = self._mac.copy()
        mac.update(user_id.encode())
        return urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()


def _read(key_file: Path) -> bytes:
    try:
        with key_file.open("rb") as file:
            key = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise UserIdKeyError(
            f"user_id_key_file {key_file} cannot be read: {error.strerror}; put the key back, or for a new data"
            f" directory make one: `openssl rand -out {key_file} {MIN_KEY_BYTES}`"
        ) from error
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        size = f"{len(key):,}" if len(key) <= MAX_KEY_BYTES else f"more than {MAX_KEY_BYTES:,}"
        raise UserIdKeyError(
            f"user_id_key_file {key_file} has {size} bytes; a key has {MIN_KEY_BYTES}-{MAX_KEY_BYTES:,}, random ones:"
            f" `openssl rand -out FILE {MIN_KEY_BYTES}` makes one for a new data directory"
        )
    return key
