"""Calls that outlast a server's short absences."""

import asyncio
import random
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from recwire.channel import Connection
from recwire_server.importing import ServerError

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)

CALL_TIMEOUT_S = 30.0  # far above the longest batch's time: only a server that hangs meets it
CONNECT_TIMEOUT_S = 5.0  # a server that is just starting on this machine listens by then
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 3.0  # a server that came back is noticed soon
# A call that failed so is worth repeating, and may be: events carry ids and items replace themselves. A
# server that stops without grace cancels its calls.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Method(Protocol[Request, Response]):
    """A stub's unary method."""

    def __call__(self, request: Request, /, *, timeout: float) -> Awaitable[Response]: ...


@dataclass(frozen=True)
class Refusal:
    """Why a call failed. fields: what is wrong with each field at fault, by its path; retry_delay_s: None
    where the server names none."""

    code: grpc.StatusCode
    message: str
    fields: dict[str, str]
    retry_delay_s: float | None

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "Refusal":
        """Return what the error and its google.rpc details say."""
        fields: dict[str, str] = {}
        retry_delay_s = None
        metadata = cast(Iterable[tuple[str, str | bytes]], error.trailing_metadata() or ())
        for key, value in metadata:
            if key != "grpc-status-details-bin" or not isinstance(value, bytes):
                continue
            try:
                details = status_pb2.Status.FromString(value).details
            except DecodeError:
                continue
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            for detail in details:
                if detail.Unpack(bad):
                    fields.update({fault.field: fault.description for fault in bad.field_violations})
                elif detail.Unpack(retry):
                    retry_delay_s = retry.retry_delay.ToTimedelta().total_seconds()
        return cls(error.code(), error.details() or error.code().name, fields, retry_delay_s)


class Backoff:
    """The waits between the attempts of one call, as long as the server asks, otherwise longer each time.

    patience_s: how long a call may go on failing.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._began: float | None = None
        self._wait_s = FIRST_WAIT_S

    def succeeded(self) -> None:
        """Begin anew."""
        self._began, self._wait_s = None, FIRST_WAIT_S

    async def after(self, refusal: Refusal) -> None:
        """Return when it is time to try again; raises ServerError if that is pointless or patience is out."""
        if refusal.code not in PASSING:
            raise ServerError(f"the server refuses the import: {refusal.code.name}: {refusal.message}", refusal.code)
        now = time.monotonic()
        self._began = self._began or now
        wait_s = refusal.retry_delay_s or self._wait_s * random.uniform(0.5, 1)
        if now + wait_s > self._began + self._patience_s:
            raise ServerError(
                f"the server took no call for {self._patience_s:g} s: {refusal.code.name}: {refusal.message};"
                " run the import again when it is back: nothing is lost, and nothing counts twice"
            )
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
        await asyncio.sleep(wait_s)


async def call_patiently(method: Method[Request, Response], request: Request, patience_s: float) -> Response:
    """Return the answer, after as many attempts as that takes.

    Raises ServerError as Backoff does, and the call's own AioRpcError for INVALID_ARGUMENT: the caller knows
    which part of the request is to blame.
    """
    backoff = Backoff(patience_s)
    while True:
        try:
            return await method(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise
            await backoff.after(Refusal.of(error))


async def connected(connection: Connection, connect_timeout_s: float) -> grpc.aio.Channel:
    """Return a channel to the server, connected. Raises ServerError if nothing answers in time."""
    channel = connection.open_aio()
    try:
        await asyncio.wait_for(channel.channel_ready(), connect_timeout_s)
    except TimeoutError as error:
        await channel.close(None)
        raise ServerError(
            f"nothing answers at {connection.address}: start a server with `recwire-server serve --data-dir DIR"
            f" --listen {connection.address}`, or name another with --to HOST:PORT",
            grpc.StatusCode.UNAVAILABLE,
        ) from error
    return channel
