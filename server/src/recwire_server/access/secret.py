"""The Argon2id hash of a secret.

Argon2 is slow so that passwords cannot be guessed. A secret of 32 random bytes cannot be guessed in any case, so the
profile is a light one, .5 ms and 1 MiB: what callers with wrong secrets cost is bounded too.
"""

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type

TIME_COST, MEMORY_KIB, LANES = 1, 1024, 1


def hash_secret(secret: str) -> str:
    """Return a hash with its salt and profile, in Argon2's own notation."""
    return _hasher().hash(secret)


def matches(secret_hash: str, secret: str) -> bool:
    """Return whether a hash is one of a secret; takes as long as the profile in the hash asks for."""
    try:
        return _hasher().verify(secret_hash, secret)
    except VerifyMismatchError:
        return False


def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID)
