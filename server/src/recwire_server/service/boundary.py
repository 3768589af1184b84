"""What stands around every rpc: is the server ready, does the request parse, what is told of an error."""

import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from recwire_server.errors import InvalidRequestError, UnavailableError
from recwire_server.lifecycle import Lifecycle, Phase
from recwire_server.service.malformed import malformed
from recwire_server.service.status import internal_status, status_of

logger = logging.getLogger(__name__)

RETRY_DELAY_S = 1.0  # starting takes seconds, and another server is free at once

Context = grpc.aio.ServicerContext[Any, Any]


class Boundary:
    """Registers servicers on a server, with the boundary around each rpc.

    Stands in for the server in the generated `add_...Servicer_to_server` functions. gRPC answers a request that does
    not parse with INTERNAL; so requests arrive as bytes here and are parsed inside, where the sender can be told what
    is wrong.
    """

    def __init__(self, server: grpc.aio.Server, lifecycle: Lifecycle) -> None:
        self._server = server
        self._lifecycle = lifecycle

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions hand over the same rpcs by name, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register a service's rpcs."""
        guarded = {name: self._guarded(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))

    def _guarded(self, rpc: str, handler: Any) -> Any:
        """Return the handler of an rpc with the boundary around it; requests reach it as bytes."""
        message_type: type[Message] = handler.request_deserializer.__self__

        async def unary_unary(data: bytes, context: Context) -> Message:
            try:
                self._admit(context)
                response: Message = await handler.unary_unary(_parsed(data, message_type), context)
                return response
            except Exception as error:
                await _abort(rpc, error, context)

        async def unary_stream(data: bytes, context: Context) -> AsyncIterator[Message]:
            try:
                self._admit(context)
                async for response in handler.unary_stream(_parsed(data, message_type), context):
                    yield response
            except Exception as error:
                await _abort(rpc, error, context)

        async def stream_stream(stream: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
            try:
                self._admit(context)
                requests = (_parsed(data, message_type) async for data in stream)
                async for response in handler.stream_stream(requests, context):
                    yield response
            except Exception as error:
                await _abort(rpc, error, context)

        around = {"unary_unary": unary_unary, "unary_stream": unary_stream, "stream_stream": stream_stream}
        (kind,) = (kind for kind in around if getattr(handler, kind) is not None)
        return handler._replace(request_deserializer=None, **{kind: around[kind]})

    def _admit(self, context: Context) -> None:
        phase = self._lifecycle.phase
        if phase is not Phase.SERVING:
            description = f"the server is {phase.value}: try again, or another server"
            raise UnavailableError(phase.name, description, RETRY_DELAY_S)
        self._lifecycle.begin_call(context)


def _parsed(data: bytes, message_type: type[Message]) -> Message:
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError([malformed(data, message_type.DESCRIPTOR)]) from error


async def _abort(rpc: str, error: Exception, context: Context) -> NoReturn:
    """End the call with the error's status and its details."""
    status = status_of(error)
    if status is None:
        incident_id = uuid.uuid4().hex[:12]
        logger.error("incident %s in %s", incident_id, rpc, exc_info=error)
        status = internal_status(incident_id)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))
    raise AssertionError("abort() raises")
