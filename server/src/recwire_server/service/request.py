"""Requests as they come: bytes that are parsed, one by one in a stream, for a caller who may not name everything."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError, Message

from recwire_server.access.authorization import Authorization
from recwire_server.access.key import Key
from recwire_server.errors import InvalidRequestError, UnavailableError
from recwire_server.lifecycle import Phase
from recwire_server.reason import Reason
from recwire_server.service.malformed import malformed
from recwire_server.service.named_id import check_ids

RETRY_DELAY_S = 1.0  # starting takes seconds, and another server is free at once


class Requests(AsyncIterator[Message]):
    """The requests of a stream.

    For one that does not parse InvalidRequestError is raised, for one that its caller may not send (any more, or yet)
    ForbiddenError, UnauthenticatedError or ExhaustedError; the next one comes after it, if the rpc reads on. After
    `end` UnavailableError is raised, also for a request that is being waited for.
    """

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        message_type: type[Message],
        caller: Key | None,
        authorization: Authorization,
    ) -> None:
        self._stream = stream
        self._message_type = message_type
        self._caller = caller
        self._authorization = authorization
        self._reader: asyncio.Task[object] | None = None
        self._is_over = False

    def end(self) -> None:
        """Take no further request: the server is draining."""
        self._is_over = True
        if self._reader is not None:
            self._reader.cancel()

    async def __anext__(self) -> Message:
        if self._is_over:
            raise unavailable(Phase.DRAINING)
        reader = self._reader = asyncio.current_task()
        try:
            data = await anext(self._stream)
        except asyncio.CancelledError:
            assert reader is not None
            if not self._is_over or reader.uncancel():  # then the call itself is cancelled
                raise
            raise unavailable(Phase.DRAINING) from None
        finally:
            self._reader = None
            del reader  # what was cancelled would keep itself by it
        self._authorization.check_still_valid(self._caller)
        self._authorization.count_call(self._caller)
        return parsed(data, self._message_type, self._caller)


def unavailable(phase: Phase) -> UnavailableError:
    """Return the error of a server that takes no calls."""
    description = f"the server is {phase.value}: try again, or another server"
    return UnavailableError(Reason[phase.name], description, RETRY_DELAY_S)


def parsed(data: bytes, message_type: type[Message], caller: Key | None) -> Message:
    """Return the request, which names nothing that its caller may not name."""
    try:
        request = message_type.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError([malformed(data, message_type.DESCRIPTOR)]) from error
    check_ids(request, caller)
    return request
