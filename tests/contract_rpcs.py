"""Every rpc on the port, and how to call each."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import grpc
from access_files import Metadata
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2

TIMEOUT_S = 30.0  # for what takes milliseconds on an idle machine


@dataclass(frozen=True)
class Rpc:
    """An rpc by its name on the wire, service/rpc, and its shape."""

    name: str
    streams_requests: bool
    streams_responses: bool
    request_name: str

    def call(self, channel: grpc.Channel, metadata: Metadata = (), request: bytes = b"") -> bytes:
        """Send one request; return the first answer, b"" if there is none. Raises grpc.RpcError."""
        shape = "_".join(
            "stream" if streams else "unary" for streams in (self.streams_requests, self.streams_responses)
        )
        sent = iter([request]) if self.streams_requests else request
        call = getattr(channel, shape)(f"/{self.name}")(sent, metadata=metadata, timeout=TIMEOUT_S)
        if not self.streams_responses:
            return call
        first: bytes = next(call, b"")
        call.cancel()
        return first

    def outcome(self, channel: grpc.Channel, metadata: Metadata = (), request: bytes = b"") -> str:
        """Return why a request was refused: the reason, or the code where there is none; "admitted" if it was answered,
        be it by an error of the rpc's own."""
        try:
            self.call(channel, metadata, request)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return reason_of(error)
            return "admitted" if error.code() in OF_AN_EMPTY_REQUEST else error.code().name
        return "admitted"


OF_AN_EMPTY_REQUEST = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


def reason_of(error: grpc.RpcError) -> str:
    """Return the ErrorInfo.reason of an error."""
    info = ErrorInfo()
    for detail in Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details:
        detail.Unpack(info)
    assert info.domain == "recwire"
    return info.reason


def _rpcs(*methods: MethodDescriptor) -> Iterator[Rpc]:
    for method in methods:
        name = f"{method.containing_service.full_name}/{method.name}"
        yield Rpc(name, method.client_streaming, method.server_streaming, method.input_type.full_name)


def _methods(module: object) -> Iterator[MethodDescriptor]:
    for service in module.DESCRIPTOR.services_by_name.values():
        yield from service.methods


CONTRACT = tuple(
    chain.from_iterable(
        _rpcs(*_methods(module))
        for module in (recommender_service_pb2, catalog_service_pb2, user_service_pb2, admin_service_pb2)
    )
)
HEALTH = tuple(_rpcs(*_methods(health_pb2)))
ALPHA = tuple(_rpcs(*_methods(reflection_pb2)))
REFLECTION = (*ALPHA, *(Rpc(rpc.name.replace("v1alpha", "v1"), True, True, rpc.request_name) for rpc in ALPHA))
