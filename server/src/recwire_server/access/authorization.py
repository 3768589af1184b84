"""Who calls, and whether they may."""

from typing import Any

import grpc

from recwire_server.access import audit
from recwire_server.access.key import Key, token_from
from recwire_server.access.keyring import Keyring
from recwire_server.access.rate_limit import RateLimits
from recwire_server.access.role import Role
from recwire_server.errors import ForbiddenError, UnauthenticatedError

Context = grpc.aio.ServicerContext[Any, Any]


class Authorization:
    """Lets calls pass that show a key of a sufficient role. keyring: None asks for no keys."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring
        self._rate_limits = RateLimits()

    async def caller(self, rpc: str, needed: Role, context: Context) -> Key | None:
        """Return the key of who calls an rpc; None if no keys are asked for.

        Raises UnauthenticatedError without a valid key, ForbiddenError if its role is too low. Reads nothing but the
        call's metadata; takes microseconds, but for a key's first call.
        """
        token = None if self._keyring is None and needed is not Role.ADMIN else _bearer_token(context)
        if needed is Role.ADMIN:
            claimed = token_from(token) if token else None
            audit.admin_call(rpc, claimed.key_id if claimed else "", context)
        if self._keyring is None:
            return None
        if token is None:
            raise UnauthenticatedError(
                "KEY_MISSING",
                "no API key: send metadata `authorization: Bearer KEY`, with a key of `recwire-server keys create`",
            )
        key = await self._keyring.holder(token)
        if not key.role.covers(needed):
            raise ForbiddenError("ROLE_TOO_LOW", f"{rpc} needs a key of role {needed}; this one has role {key.role}")
        return key

    def check_still_valid(self, caller: Key | None) -> None:
        """Raise UnauthenticatedError if a caller's key has been revoked or has expired since the call began."""
        if self._keyring is not None and caller is not None:
            self._keyring.check_valid(caller)

    def count_call(self, caller: Key | None) -> None:
        """Count a call, or a message of a stream; raises ExhaustedError if it is more than the key may make."""
        self._rate_limits.check(caller)


def _bearer_token(context: Context) -> str | None:
    """Return what stands behind "Bearer" in the call's metadata; None if there is nothing of the kind."""
    for name, value in context.invocation_metadata() or ():
        if name == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            return token.strip() or None if scheme.lower() == "bearer" else None
    return None
