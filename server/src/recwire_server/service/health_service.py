"""The rpcs of grpc.health.v1.

grpcio-health-checking has a servicer, but in 1.75 its Watch goes silent for all watchers once one leaves, and never
ends, so that a stop waits for it in vain.
"""

from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer

from recwire_server.lifecycle import Lifecycle, Phase

Context = grpc.aio.ServicerContext[Any, Any]


class HealthService(HealthServicer):  # type: ignore[misc]  # generated without types
    """Check and Watch: SERVING while the server takes calls, the same for every service and for "", the server itself.

    A watcher hears of every change; its stream ends with the news that the server is draining.
    """

    def __init__(self, services: Collection[str], lifecycle: Lifecycle) -> None:
        self._services = frozenset(services)
        self._lifecycle = lifecycle

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        self._lifecycle.begin_call()
        told = None
        while True:
            phase = self._lifecycle.phase
            status = self._status(request.service)
            if status != told:
                yield pb.HealthCheckResponse(status=status)
                told = status
            if phase is Phase.DRAINING:
                return
            await self._lifecycle.left(phase)

    def _status(self, service: str) -> pb.HealthCheckResponse.ServingStatus:
        if service not in self._services:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        serving = self._lifecycle.phase is Phase.SERVING
        return pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING
