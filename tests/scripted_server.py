"""A real gRPC server that answers recwire.v1 by a script, for tests of clients.

It knows nothing of recommendations: it records what arrives and answers what it was told to.
"""

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

import recwire
from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True)
class Received:
    """A request as it arrived, with what was left of its deadline (None: it had none), and who says to call."""

    rpc: str
    request: Any
    timeout_s: float | None
    authorization: str | None


@dataclass(frozen=True)
class Failure:
    """A status to answer with; the details are google.rpc messages, or bytes that are none."""

    code: grpc.StatusCode
    message: str = ""
    details: tuple[Message, ...] | bytes = ()


class ScriptedServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Serves on a free port while in `with`. credentials: TLS; None: plain text."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.received: list[Received] = []
        self._script: dict[str, list[Message | Failure]] = {}
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        any_port = "127.0.0.1:0"
        port = (
            self._server.add_secure_port(any_port, credentials)
            if credentials
            else self._server.add_insecure_port(any_port)
        )
        self.address = f"127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=0).wait()

    def answer(self, rpc: str, *outcomes: Message | Failure) -> None:
        """Answer the next calls of an rpc with these, one each, and later ones with empty messages; a call that streams
        answers with all of these."""
        self._script[rpc] = list(outcomes)

    def requests(self, rpc: str) -> list[Any]:
        """Return the requests of an rpc, in order."""
        return [received.request for received in self.received if received.rpc == rpc]

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return the handler of an rpc: gRPC asks for it."""
        method = METHODS[call.method.rsplit("/", 1)[1]]

        def unary(request: Message, context: grpc.ServicerContext) -> Message:
            return self._outcome(method, request, context)

        def stream(requests: Iterator[Message], context: grpc.ServicerContext) -> Iterator[Message]:
            for request in requests:
                yield self._outcome(method, request, context)

        def parts_of_answer(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            for _ in range(max(1, len(self._script.get(method.name, ())))):
                yield self._outcome(method, request, context)

        parts = {
            "request_deserializer": GetMessageClass(method.input_type).FromString,
            "response_serializer": lambda message: message.SerializeToString(),
        }
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **parts)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(parts_of_answer, **parts)
        return grpc.unary_unary_rpc_method_handler(unary, **parts)

    def _outcome(self, method: MethodDescriptor, request: Message, context: grpc.ServicerContext) -> Message:
        metadata: dict[str, Any] = dict(context.invocation_metadata())
        authorization = metadata.get("authorization")
        self.received.append(Received(method.name, request, context.time_remaining(), authorization))
        outcomes = self._script.get(method.name)
        outcome = outcomes.pop(0) if outcomes else GetMessageClass(method.output_type)()
        if isinstance(outcome, Failure):
            if outcome.details:
                context.set_trailing_metadata((("grpc-status-details-bin", _packed(outcome)),))
            context.abort(outcome.code, outcome.message)
        return outcome


def _packed(failure: Failure) -> bytes:
    if isinstance(failure.details, bytes):
        return failure.details
    status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
    for detail in failure.details:
        status.details.add().Pack(detail)
    packed: bytes = status.SerializeToString()
    return packed


class Caller:
    """Calls either client in the same way, so that one test is about both; iterations come back as lists."""

    def __init__(self, client_class: type[recwire.Client] | type[recwire.AsyncClient], address: str, **settings: Any):
        self._runner = asyncio.Runner()
        self._client = client_class(address, **settings)

    def __call__(self, method: str, *args: Any, **keywords: Any) -> Any:
        result = getattr(self._client, method)(*args, **keywords)
        if inspect.isasyncgen(result) or inspect.isgenerator(result):
            elements: list[Any] = []
            self._take(elements, result)
            return elements
        return self._runner.run(result) if inspect.iscoroutine(result) else result

    def into(self, elements: list[Any], method: str, *args: Any, **keywords: Any) -> None:
        """Call what iterates; add the elements that come, also before an error."""
        self._take(elements, getattr(self._client, method)(*args, **keywords))

    def _take(self, elements: list[Any], result: Any) -> None:
        if inspect.isasyncgen(result):
            self._runner.run(_take_all(elements, result))
        else:
            for element in result:
                elements.append(element)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self("close")
        self._runner.close()


async def _take_all(elements: list[Any], generator: Any) -> None:
    async for element in generator:
        elements.append(element)
