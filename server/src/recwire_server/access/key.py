"""An API key: what the server knows of it, and how it reads.

A key reads `rw_<key id>_<secret>`: 12 hexadecimal digits that name it, which are no secret, and 64 that are.
"""

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from recwire_server.access.role import Role

ID_BYTES = 6  # ids of thousands of keys do not meet
SECRET_BYTES = 32
TOKEN = re.compile(rf"rw_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})", re.ASCII)


@dataclass(frozen=True)
class Key:
    """A key as it is kept: without its secret, of which there is only a hash.

    id_prefix: what the user ids that it names, and the item ids that it writes, begin with; empty: any. Times are in
    UTC; expire_time: None for never. limits: of its calls, as rate_limit.parse_limit reads them.
    """

    id: str
    name: str
    role: Role
    id_prefix: str
    create_time: datetime
    expire_time: datetime | None
    secret_hash: str = field(repr=False)
    limits: tuple[str, ...] = ()

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expire_time is not None and datetime.now(UTC) >= self.expire_time


@dataclass(frozen=True)
class Token:
    """What a caller shows."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The key as its holder has it."""
        return f"rw_{self.key_id}_{self.secret}"


def new_token() -> Token:
    """Return a token of a new key, with a random secret."""
    return Token(secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES))


def token_from(text: str) -> Token | None:
    """Return the token that a text is; None if it is none."""
    match = TOKEN.fullmatch(text)
    return Token(match[1], match[2]) if match else None
