"""Traces, by OpenTelemetry: a server span around each call, and spans of what took time within.

OpenTelemetry's own instrumentation of grpc.aio (0.66) is not used: it takes what answers a stream for a generator,
which here is a coroutine, and records each status that a call is refused with as an exception. Names and attributes are
those of the semantic conventions.

Imported only where traces are asked for: it needs the traces extra, memory, and time.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import grpc
from opentelemetry import context as trace_context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from recwire_server import __version__

EXPORT_TIMEOUT_S = 5.0  # retries included; then the batch is dropped, and the next one tried
FLUSH_S = 3.0  # how long a stop waits for the last spans
LOG_INTERVAL_S = 60.0  # between two lines that say so
LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk._shared_internal",
)

TRACE_HEADERS = ("traceparent", "tracestate")
# The semantic conventions count these as errors of the server; the others are the caller's.
SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

Attributes = Mapping[str, str | int | float | bool]


class Tracing:
    """Makes spans and sends them to a collector in batches, on a thread of its own. Belongs to the event loop.

    endpoint: URL of OTLP over HTTP, with its path. sample_share: of calls that do not come with a trace, 0-1; a trace
    that a caller began is followed if the caller samples it.
    """

    def __init__(self, endpoint: str, sample_share: float) -> None:
        self._endpoint = endpoint
        self._sample_share = sample_share
        self._provider: TracerProvider | None = None
        self._exporter: SpanExporter | None = None
        self._propagator = TraceContextTextMapPropagator()
        self._quiet = _SeldomFilter()

    def start(self) -> None:
        """Make spans from now on."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._quiet)
        resource = Resource.create({"service.name": "recwire", "service.version": __version__})
        sampler = ParentBased(ALWAYS_ON)  # of calls without a trace, only those that `begin` has drawn come here
        self._provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter(self._endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer: Tracer = self._provider.get_tracer("recwire_server", __version__)

    async def stop(self) -> None:
        """Send what is left, for at most FLUSH_S."""
        if self._provider is None or self._exporter is None:
            return
        flushing = threading.Thread(target=self._provider.shutdown, name="trace-flush", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_S)
        if flushing.is_alive():
            self._exporter.shutdown()  # what is left fails, and nobody waits for that
        else:
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self._quiet)

    def begin(self, rpc: str, context: grpc.aio.ServicerContext[Any, Any]) -> "ServerSpan | None":
        """Begin a call's span, under the caller's if it sent one; what the task records from now on is within.

        None: the call came without a trace and is not sampled. A span that is not would cost 30 us.
        """
        parent: trace_context.Context | None = None
        headers = {key: value for key, value in context.invocation_metadata() or () if key in TRACE_HEADERS}
        if headers:
            parent = self._propagator.extract(headers)
        elif random.random() >= self._sample_share:
            return None
        attributes = {"rpc.system.name": "grpc", "rpc.method": rpc}
        span = self._tracer.start_span(rpc, parent, SpanKind.SERVER, attributes)
        return ServerSpan(span)

    def record(self, name: str, begin_s: float, end_s: float, attributes: Attributes) -> None:
        """Record what was done within the running call between two time.monotonic()s."""
        if not get_current_span().is_recording():
            return
        epoch_ns = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(name, start_time=epoch_ns + round(1e9 * begin_s), attributes=attributes)
        span.end(epoch_ns + round(1e9 * end_s))


class ServerSpan:
    """The span of a call that is under way."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = trace_context.attach(set_span_in_context(span))

    def end(self, code: str, error: BaseException | None = None, details: str = "") -> None:
        """End it with the name of the call's status. error: what ended the call. details: what its status says."""
        trace_context.detach(self._token)
        self._span.set_attribute("rpc.response.status_code", code)
        if code != "OK":
            # Of our bug the exception's type; its message may quote a request, and is in the log only.
            cause = error.__context__ if code == "INTERNAL" and error is not None else None
            self._span.set_attribute("error.type", code if cause is None else type(cause).__qualname__)
        if code in SERVER_FAULTS:
            self._span.set_status(StatusCode.ERROR, details)
        self._span.end()


def current_trace() -> dict[str, str]:
    """Return trace_id and span_id of the running call in hexadecimal digits; nothing outside of one."""
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


class _SeldomFilter(logging.Filter):
    """Lets a line through only so often: a collector that is away is said once a minute, not at each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() < self._next_s:
            return False
        self._next_s = time.monotonic() + LOG_INTERVAL_S
        return True
