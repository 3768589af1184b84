"""What stands around every rpc: is the server ready, does the request parse, what is told of an error."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from recwire_server.errors import InvalidRequestError, UnavailableError
from recwire_server.lifecycle import Lifecycle, Phase
from recwire_server.service.malformed import malformed
from recwire_server.service.status import ErrorTeller
from recwire_server.telemetry.call import Calls, ObservedServer

RETRY_DELAY_S = 1.0  # starting takes seconds, and another server is free at once

Context = grpc.aio.ServicerContext[Any, Any]


class Boundary:
    """Registers servicers on a server, with the boundary around each rpc.

    Stands in for the server in the generated `add_...Servicer_to_server` functions. gRPC answers a request that does
    not parse with INTERNAL; so requests arrive as bytes here and are parsed inside, where the sender can be told what
    is wrong.
    """

    def __init__(self, server: grpc.aio.Server, lifecycle: Lifecycle, calls: Calls, teller: ErrorTeller) -> None:
        self._server = server
        self._lifecycle = lifecycle
        self._calls = calls
        self._teller = teller

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions hand over the same rpcs by name, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register a service's rpcs."""
        guarded = {name: self._guarded(f"{service}/{name}", handler) for name, handler in handlers.items()}
        ObservedServer(self._server, self._calls).add_registered_method_handlers(service, guarded)

    def _guarded(self, rpc: str, handler: Any) -> Any:
        """Return the handler of an rpc with the boundary around it; requests reach it as bytes."""
        message_type: type[Message] = handler.request_deserializer.__self__

        async def unary_unary(data: bytes, context: Context) -> Message:
            try:
                self._admit(context)
                response: Message = await handler.unary_unary(_parsed(data, message_type), context)
                return response
            except Exception as error:
                await self._abort(rpc, error, context)

        async def unary_stream(data: bytes, context: Context) -> AsyncIterator[Message]:
            try:
                self._admit(context)
                async for response in handler.unary_stream(_parsed(data, message_type), context):
                    yield response
            except Exception as error:
                await self._abort(rpc, error, context)

        # A coroutine, where the others are generators: when the call is cancelled, what it has in work has ended when
        # it returns.
        async def stream_stream(stream: AsyncIterator[bytes], context: Context) -> None:
            try:
                self._admit(context)
                async with aclosing(handler.stream_stream(Requests(stream, message_type), context)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:
                await self._abort(rpc, error, context)

        around = {"unary_unary": unary_unary, "unary_stream": unary_stream, "stream_stream": stream_stream}
        (kind,) = (kind for kind in around if getattr(handler, kind) is not None)
        return handler._replace(request_deserializer=None, **{kind: around[kind]})

    def _admit(self, context: Context) -> None:
        phase = self._lifecycle.phase
        if phase is not Phase.SERVING:
            description = f"the server is {phase.value}: try again, or another server"
            raise UnavailableError(phase.name, description, RETRY_DELAY_S)
        self._lifecycle.begin_call(context)

    async def _abort(self, rpc: str, error: Exception, context: Context) -> NoReturn:
        """End the call with the error's status and its details."""
        status = self._teller.told_of(error, rpc)
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        await context.abort(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))
        raise AssertionError("abort() raises")


class Requests(AsyncIterator[Message]):
    """The requests of a stream. For one that does not parse InvalidRequestError is raised; the next one comes after it,
    if the rpc reads on."""

    def __init__(self, stream: AsyncIterator[bytes], message_type: type[Message]) -> None:
        self._stream = stream
        self._message_type = message_type

    async def __anext__(self) -> Message:
        return _parsed(await anext(self._stream), self._message_type)


def _parsed(data: bytes, message_type: type[Message]) -> Message:
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError([malformed(data, message_type.DESCRIPTOR)]) from error
