"""A collector of traces: OTLP over HTTP, as OpenTelemetry's own collector takes it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class TraceCollector:
    """Where to send traces, and what has come."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}

    def take(self, data: bytes) -> None:
        """Take a request's body."""
        for resource_spans in ExportTraceServiceRequest.FromString(data).resource_spans:
            self.resource = {one.key: one.value.string_value for one in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                self.spans.extend(scope_spans.spans)

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name, in the order in which they ended."""
        return [span for span in self.spans if span.name == name]


def attributes_of(span: Span) -> dict[str, object]:
    """Return a span's attributes."""
    return {one.key: _value(one) for one in span.attributes}


def _value(attribute: KeyValue) -> object:
    kind = attribute.value.WhichOneof("value")
    return getattr(attribute.value, kind) if kind else None


@contextmanager
def collecting() -> Iterator[TraceCollector]:
    """Run a collector for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = TraceCollector(f"http://127.0.0.1:{server.server_port}/v1/traces")
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
