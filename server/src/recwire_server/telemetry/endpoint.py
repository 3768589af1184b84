"""Where metrics are read: GET /metrics, in Prometheus' text format or OpenMetrics, as the reader asks."""

import asyncio
import logging
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

logger = logging.getLogger(__name__)


class MetricsEndpoint:
    """An HTTP server on threads of its own, which answers also while the event loop is busy.

    address: HOST:PORT; port 0 picks a free one; as bound once it is started. Whoever reaches it may read: it tells
    how much the server does and what it holds, and names no user, item, text or key.
    """

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        self.address = address
        self._registry = registry
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Answer from now on. Raises OSError if the address cannot be bound."""
        host, _, port = self.address.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), self._registry)
        except OSError as error:
            raise OSError(f"metrics cannot be served on {self.address} (metrics_listen): {error}") from error
        self.address = f"{host}:{self._server.server_port}"
        logger.info("metrics are served on http://%s/metrics", self.address)

    async def stop(self) -> None:
        """Answer no more; takes up to half a second."""
        if self._server is not None and self._thread is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None
