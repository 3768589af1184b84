"""Whose a token is."""

import asyncio
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from recwire_server.access import KeyFileError, audit
from recwire_server.access.file_change import FileChanges
from recwire_server.access.key import Key, token_from
from recwire_server.access.key_file import read_keys
from recwire_server.access.secret import matches
from recwire_server.errors import ExhaustedError, UnauthenticatedError

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0  # a key that is revoked is refused as soon
MAX_CHECKS = 64  # .5 ms each: who comes last waits for 30 ms
CHECKS_RETRY_DELAY_S = 0.1
MAX_WRONG_TOKENS = 1_024  # a client that goes on with an old key is refused in microseconds; 100 KB

# One for all: which of them it is would tell a stranger which keys there are.
INVALID = (
    "the API key is not valid: it is unknown, incomplete, revoked or expired;"
    " ask for a new one of `recwire-server keys create`"
)


class Keyring:
    """The keys of a file, read again once it has changed; `async with` reads them first, and raises KeyFileError.

    A token is checked with Argon2 once, on a thread of its own; after that it is known by a digest, under a key that
    is this process's own: what is kept in memory is of no use elsewhere. Belongs to the event loop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changes = FileChanges([path])
        self._next_look_s = 0.0
        self._keys: dict[str, Key] = {}
        self._digest_key = secrets.token_bytes(32)
        self._known: dict[bytes, Key] = {}  # by the digest of the token, of which there is one a key
        self._wrong: dict[bytes, None] = {}  # digests of tokens, the oldest first
        self._checks: dict[bytes, asyncio.Future[bool]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recwire-keys")

    async def __aenter__(self) -> "Keyring":
        self._changes.any()
        self._keys = read_keys(self._path)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._thread.shutdown()

    async def holder(self, text: str) -> Key:
        """Return the key that a token belongs to.

        Raises UnauthenticatedError, the same for every reason, and ExhaustedError while too many tokens that are
        new wait to be checked.
        """
        self._look()
        digest = blake2b(text.encode(), digest_size=16, key=self._digest_key).digest()
        key = self._known.get(digest)
        if key is None:
            key = await self._checked(text, digest)
        if key is None or key.is_expired:
            raise UnauthenticatedError("KEY_INVALID", INVALID)
        return key

    def check_valid(self, key: Key) -> None:
        """Raise UnauthenticatedError if a key is no longer what it was: revoked, expired or changed."""
        self._look()
        if key.is_expired or self._keys.get(key.id) != key:
            raise UnauthenticatedError("KEY_INVALID", INVALID)

    def reload(self) -> None:
        """Read the file again. If it cannot be read, the keys stay as they were, and the log says so."""
        self._changes.any()
        try:
            keys = read_keys(self._path)
        except KeyFileError as error:
            logger.warning("the API keys stay as they were: %s", error)
            audit.keys_not_reloaded()
            return
        audit.keys_reloaded(before=self._keys.keys(), after=keys.keys())
        self._keys = keys
        self._known = {
            digest: keys[old.id]
            for digest, old in self._known.items()
            if old.id in keys and keys[old.id].secret_hash == old.secret_hash
        }
        self._wrong.clear()

    def _look(self) -> None:
        """Read the file again if it has changed, at most once in a while: on the loop, for some thousand keys take
        milliseconds, and change seldom."""
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_INTERVAL_S
            if self._changes.any():
                self.reload()

    async def _checked(self, text: str, digest: bytes) -> Key | None:
        """Return the key whose token it is; None if it is none's."""
        token = token_from(text)
        key = self._keys.get(token.key_id) if token else None
        if token is None or key is None or digest in self._wrong:
            return None
        check = self._checks.get(digest)
        if check is None:
            if len(self._checks) >= MAX_CHECKS:
                told = f"{MAX_CHECKS} keys that are new here wait to be checked, which is the limit: try again"
                raise ExhaustedError("KEY_CHECKS_FULL", told, CHECKS_RETRY_DELAY_S)
            loop = asyncio.get_running_loop()
            check = loop.run_in_executor(self._thread, matches, key.secret_hash, token.secret)
            self._checks[digest] = check
            check.add_done_callback(lambda _: self._checks.pop(digest))
        is_right = await asyncio.shield(check)  # others may wait for it too
        if is_right and self._keys.get(key.id) == key:  # not revoked meanwhile
            self._known[digest] = key
            return key
        if not is_right:
            self._wrong[digest] = None
            if len(self._wrong) > MAX_WRONG_TOKENS:
                del self._wrong[next(iter(self._wrong))]
        return None
