"""The port: the gRPC server with its standard services."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2
from recwire_server.lifecycle import Lifecycle, Phase
from recwire_server.service.boundary import Boundary
from recwire_server.service.health_service import HealthService

MAX_REQUEST_BYTES = 4 * 1024 * 1024
# An answer of 1,000 items with texts may be larger than a request; clients that keep gRPC's 4 MiB are told by gRPC.
MAX_ANSWER_BYTES = 64 * 1024 * 1024

# A compressed request is inflated before its size is looked at: 4 MiB of zeros become 4 GiB. So none is taken.
ONLY_IDENTITY = 1  # of gRPC's compression algorithms, the bit of none

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (recommender_service_pb2, "RecommenderService"),
        (catalog_service_pb2, "CatalogService"),
        (user_service_pb2, "UserService"),
        (admin_service_pb2, "AdminService"),
    )
)

Register = Callable[[Boundary], None]
"""Adds the servicers."""


class Transport:
    """A gRPC server on one address; its health is NOT_SERVING from the first moment until `serve`, and from `stop` on.

    address: HOST:PORT; port 0 picks a free one. Belongs to the event loop.
    """

    def __init__(self, address: str, lifecycle: Lifecycle, register: Register) -> None:
        self._address = address
        self._lifecycle = lifecycle
        self._register = register
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Take connections, not yet calls; return HOST:PORT as bound. Raises OSError if the address cannot be bound."""
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
                ("grpc.compression_enabled_algorithms_bitset", ONLY_IDENTITY),
                ("grpc.so_reuseport", 0),  # a second server on the port is a mistake, not a helper
            ]
        )
        self._register(Boundary(server, self._lifecycle))
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(("", *SERVICES), self._lifecycle), server)
        _add_reflection(server)
        host = self._address.rpartition(":")[0]
        try:
            port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}; is another server there?") from error
        await server.start()
        self._server = server
        return f"{host}:{port}"

    def serve(self) -> None:
        """Take calls."""
        self._lifecycle.phase = Phase.SERVING

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and give those under way this long to end."""
        self._lifecycle.phase = Phase.DRAINING
        server, self._server = self._server, None
        if server is None:
            return
        # Not gRPC's own grace: in it an idle client, which notices a server's farewell only every 5 s, holds up the
        # end, and new calls are told no more than that they are cancelled.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._lifecycle.no_calls()
        await server.stop(None)


def _add_reflection(server: grpc.aio.Server) -> None:
    """Serve reflection as v1 and as v1alpha, which older tools ask for; the two differ in nothing but the name."""
    _describe_reflection_v1()
    names = (*SERVICES, health.SERVICE_NAME, REFLECTION_V1, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]  # there, but conditionally imported
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler}),)
    )


def _describe_reflection_v1() -> None:
    """Put v1's description, which grpcio-reflection lacks, where its servicer looks: v1alpha's under the other name."""
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(REFLECTION_V1)
    except KeyError:
        alpha = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
        pool.AddSerializedFile(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString())
