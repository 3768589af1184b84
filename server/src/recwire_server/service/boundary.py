"""What stands around every rpc: who calls, is the server ready, has it room, does the request parse, what is told of an
error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from recwire_server.access.authorization import Authorization
from recwire_server.access.key import Key
from recwire_server.access.role import REQUIRED_ROLES
from recwire_server.admission import Slots
from recwire_server.errors import LateError
from recwire_server.lifecycle import Lifecycle, Phase
from recwire_server.service.request import Requests, parsed, unavailable
from recwire_server.service.status import ErrorTeller
from recwire_server.telemetry.call import ObservedServer

# What tells how the server is: taken however much else is in work.
ALWAYS_TAKEN = "recwire.v1.AdminService"

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class CallLimits:
    """Of calls in work at a time, of streams open at a time, and of the seconds of a call that sets no deadline."""

    max_calls: int
    max_streams: int
    default_timeout_s: float


class Boundary:
    """Registers servicers on a server, with the boundary around each rpc.

    Stands in for the server in the generated `add_...Servicer_to_server` functions. gRPC answers a request that does
    not parse with INTERNAL; so requests arrive as bytes here and are parsed inside, where the sender can be told what
    is wrong.
    """

    def __init__(
        self,
        server: ObservedServer,
        lifecycle: Lifecycle,
        limits: CallLimits,
        authorization: Authorization,
        teller: ErrorTeller,
    ) -> None:
        self._server = server
        self._lifecycle = lifecycle
        self._authorization = authorization
        self._default_timeout_s = limits.default_timeout_s
        self._calls = Slots("calls", limits.max_calls, "max_calls")
        self._streams = Slots("streams", limits.max_streams, "max_streams")
        self._teller = teller

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions hand over the same rpcs by name, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register a service's rpcs."""
        guarded = {name: self._guarded(service, name, handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, guarded)

    def _guarded(self, service: str, name: str, handler: Any) -> Any:
        """Return the handler of an rpc with the boundary around it; requests reach it as bytes."""
        rpc = f"{service}/{name}"
        message_type: type[Message] = handler.request_deserializer.__self__
        needed = REQUIRED_ROLES[rpc]  # checked first, by metadata alone: a stranger hears of nothing that is or is not
        calls: AbstractContextManager[None] = self._calls
        streams: AbstractContextManager[None] = self._streams
        is_always_taken = service == ALWAYS_TAKEN
        if is_always_taken:
            calls = streams = nullcontext()

        async def admit(context: Context) -> tuple[Key | None, float | None]:
            """Return who calls, and how many seconds the call has left; None if it came without a deadline."""
            caller = await self._authorization.caller(rpc, needed, context)
            remaining_s = self._begin(context)
            if not is_always_taken:
                self._authorization.count_call(caller)
            return caller, remaining_s

        async def unary_unary(data: bytes, context: Context) -> Message | None:
            try:
                caller, remaining_s = await admit(context)
                with calls:
                    answer = handler.unary_unary(parsed(data, message_type, caller), context)
                    response: Message = await (self._in_time(answer) if remaining_s is None else answer)
                return response
            except Exception as error:
                await end_call(rpc, error, context, self._teller)
                return None

        async def unary_stream(data: bytes, context: Context) -> AsyncIterator[Message]:
            try:
                caller, _ = await admit(context)
                with streams:
                    async for response in handler.unary_stream(parsed(data, message_type, caller), context):
                        yield response
            except Exception as error:
                await end_call(rpc, error, context, self._teller)

        # A coroutine, where the others are generators: when the call is cancelled, what it has in work has ended when
        # it returns.
        async def stream_stream(stream: Any, context: Context) -> None:
            try:
                caller, _ = await admit(context)
                # Closed at the end: gRPC's generator of messages would keep the call, see end_call.
                async with aclosing(aiter(stream)) as messages:
                    requests = Requests(messages, message_type, caller, self._authorization)
                    with streams, self._lifecycle.told_of_drain(requests.end):
                        async with aclosing(handler.stream_stream(requests, context)) as responses:
                            async for response in responses:
                                await context.write(response)
            except Exception as error:
                await end_call(rpc, error, context, self._teller)

        around = {"unary_unary": unary_unary, "unary_stream": unary_stream, "stream_stream": stream_stream}
        (kind,) = (kind for kind in around if getattr(handler, kind) is not None)
        return handler._replace(request_deserializer=None, **{kind: around[kind]})

    def _begin(self, context: Context) -> float | None:
        """Return how many seconds the call has left, None if it came without a deadline."""
        phase = self._lifecycle.phase
        if phase is not Phase.SERVING:
            raise unavailable(phase)
        remaining_s = context.time_remaining()
        if remaining_s is not None and remaining_s <= 0:  # it waited for the event loop
            raise LateError("the deadline passed before the call was begun")
        self._lifecycle.begin_call()
        return remaining_s

    async def _in_time(self, answer: Awaitable[Message]) -> Message:
        """Wait no longer than a call without a deadline may."""
        try:
            async with asyncio.timeout(self._default_timeout_s) as timeout:
                return await answer
        except TimeoutError as error:
            if not timeout.expired():
                raise
            told = f"no answer within {self._default_timeout_s:g} s, the limit of calls that set no deadline"
            raise LateError(f"{told} (default_timeout_s)") from error


async def end_call(rpc: str, error: Exception, context: Context, teller: ErrorTeller) -> None:
    """Let the call end with the error's status and its details; the caller returns.

    Of our bugs gRPC's abort() raises, so that traces have the exception. It is not for what comes often: gRPC keeps
    what it raises with the call, whose frames know the call, and all of it stays, counted among the connection's
    streams, until the garbage collector comes by.
    """
    status = teller.told_of(error, rpc)
    code = CODES[status.code]
    metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    if code is grpc.StatusCode.INTERNAL:
        await context.abort(code, status.message, metadata)
    context.set_code(code)
    context.set_details(status.message)
    context.set_trailing_metadata(metadata)
