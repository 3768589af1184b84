"""The port: the gRPC server with its standard services."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from recwire.v1 import admin_service_pb2, catalog_service_pb2, recommender_service_pb2, user_service_pb2
from recwire_server.access.authorization import Authorization
from recwire_server.access.certificate import Certificates
from recwire_server.access.standard import HealthAccess, ReflectionAccess
from recwire_server.lifecycle import Lifecycle, Phase
from recwire_server.service.boundary import Boundary, CallLimits
from recwire_server.service.health_service import HealthService
from recwire_server.service.key_guard import KeyGuard
from recwire_server.service.status import ErrorTeller
from recwire_server.telemetry.call import Calls, ObservedServer

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

KEEPALIVE_TIMEOUT_S = 10.0
# Clients may ping so often, also without a call, before they are taken for abusers (ENHANCE_YOUR_CALM): gRPC's own
# 5 min would hit every client whose keepalive outlives a load balancer's patience.
MIN_CLIENT_PING_INTERVAL_S = 5.0
# Of one connection; more wait at the client. Far more than are in work: it is a bound on what one client can do.
MAX_CONCURRENT_STREAMS = 10_000

Register = Callable[[Boundary], None]
"""Adds the servicers."""


@dataclass(frozen=True)
class ConnectionRules:
    """Seconds of silence after which a connection is pinged, and after which it has to be made anew; 0: never."""

    keepalive_interval_s: float
    max_age_s: float


class Transport:
    """A gRPC server on one address; its health is NOT_SERVING from the first moment until `serve`, and from `stop` on.

    address: HOST:PORT; port 0 picks a free one. certificates: None listens without TLS. Belongs to the event loop.
    """

    def __init__(
        self,
        address: str,
        lifecycle: Lifecycle,
        limits: CallLimits,
        connections: ConnectionRules,
        authorization: Authorization,
        calls: Calls,
        teller: ErrorTeller,
        register: Register,
        *,
        certificates: Certificates | None = None,
        health_access: HealthAccess = HealthAccess.OPEN,
        reflection_access: ReflectionAccess = ReflectionAccess.KEY,
    ) -> None:
        self._address = address
        self._limits = limits
        self._connections = connections
        self._lifecycle = lifecycle
        self._calls = calls
        self._teller = teller
        self._register = register
        self._authorization = authorization
        self._certificates = certificates
        self._health_access = health_access
        self._reflection_access = reflection_access
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Take connections, not yet calls; return HOST:PORT as bound.

        Raises OSError if the address cannot be bound, CertificateError if the certificates cannot be used.
        """
        server = grpc.aio.server(options=_options(self._connections))
        observed = ObservedServer(server, self._calls)
        self._register(Boundary(observed, self._lifecycle, self._limits, self._authorization, self._teller))
        health_service = HealthService(("", *SERVICES), self._lifecycle)
        health_guard = self._guard(observed, asks_for_key=self._health_access is HealthAccess.KEY)
        health_pb2_grpc.add_HealthServicer_to_server(health_service, health_guard)
        if self._reflection_access is not ReflectionAccess.OFF:
            _add_reflection(self._guard(observed, asks_for_key=self._reflection_access is ReflectionAccess.KEY))
        host = self._address.rpartition(":")[0]
        try:
            if self._certificates is None:
                port = server.add_insecure_port(self._address)
            else:
                port = server.add_secure_port(self._address, self._certificates.credentials())
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

    def _guard(self, server: ObservedServer, *, asks_for_key: bool) -> KeyGuard:
        authorization = self._authorization if asks_for_key else Authorization(None)
        return KeyGuard(server, authorization, self._teller)


def _options(connections: ConnectionRules) -> list[tuple[str, int]]:
    """Return the options of the gRPC server."""
    options = [
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
        ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
        ("grpc.compression_enabled_algorithms_bitset", ONLY_IDENTITY),
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake, not a helper
        ("grpc.keepalive_time_ms", int(1e3 * connections.keepalive_interval_s)),
        ("grpc.keepalive_timeout_ms", int(1e3 * KEEPALIVE_TIMEOUT_S)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # as many as it takes
        ("grpc.http2.min_ping_interval_without_data_ms", int(1e3 * MIN_CLIENT_PING_INTERVAL_S)),
    ]
    if connections.max_age_s:
        options.append(("grpc.max_connection_age_ms", int(1e3 * connections.max_age_s)))
    return options


def _add_reflection(server: KeyGuard) -> None:
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
    server.add_registered_method_handlers(REFLECTION_V1, {"ServerReflectionInfo": handler})


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
