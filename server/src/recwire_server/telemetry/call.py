"""What is measured around every rpc: how many are under way, how each ended and when."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from prometheus_client import Histogram

from recwire_server.telemetry.metric import Metrics

if TYPE_CHECKING:  # imports OpenTelemetry
    from recwire_server.telemetry.tracing import Tracing

Context = grpc.aio.ServicerContext[Any, Any]
Behavior = Callable[[Any, Context], Awaitable[Any]]
"""What answers a call: returns the response, or writes the stream of them."""


class Calls:
    """Measures calls, from when gRPC hands them over until it has the answer. Belongs to the event loop.

    tracing: None: no spans.
    """

    def __init__(self, metrics: Metrics, tracing: "Tracing | None" = None) -> None:
        self._duration = metrics.call_duration
        self._tracing = tracing
        self._rpcs: dict[str, _Rpc] = {}

    @property
    def active_counts(self) -> Mapping[str, int]:
        """Calls under way, by rpc. May be read on any thread."""
        return {name: rpc.active_count for name, rpc in self._rpcs.copy().items()}

    def observed(self, rpc_name: str, handler: Any) -> Any:
        """Return the handler of an rpc, measured. rpc_name: package.Service/Rpc."""
        kinds = ("unary_unary", "unary_stream", "stream_stream")
        (kind,) = (kind for kind in kinds if getattr(handler, kind) is not None)
        behavior: Behavior = getattr(handler, kind)
        if handler.response_streaming:
            behavior = _writing(behavior)
        if self._tracing is not None:
            behavior = _traced(behavior, rpc_name, self._tracing)
        rpc = self._rpcs.setdefault(rpc_name, _Rpc(rpc_name, self._duration))
        return handler._replace(**{kind: _measured(behavior, rpc)})


class ObservedServer:
    """Stands in for a server in the generated `add_...Servicer_to_server` functions: registers rpcs, measured."""

    def __init__(self, server: grpc.aio.Server, calls: Calls) -> None:
        self._server = server
        self._calls = calls

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions hand over the same rpcs by name, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register a service's rpcs."""
        observed = {name: self._calls.observed(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, observed),))


class _Rpc:
    """An rpc's series. A code's is made when it first comes, OK's at once."""

    def __init__(self, name: str, duration: Histogram) -> None:
        self.active_count = 0
        self._name = name
        self._duration = duration
        self._by_code: dict[str, Histogram] = {}
        self.series("OK")

    def series(self, code: str) -> Histogram:
        """Return the durations of calls that ended with a code."""
        series = self._by_code.get(code)
        if series is None:
            series = self._by_code[code] = self._duration.labels("grpc", self._name, code)
        return series


def _measured(behavior: Behavior, rpc: _Rpc) -> Behavior:
    """Count a call while it is under way and when it has ended. Written out: a context manager costs twice as much."""
    ok = rpc.series("OK")

    async def measured(request: Any, context: Context) -> Any:
        rpc.active_count += 1
        begin_s = time.perf_counter()
        try:
            response = await behavior(request, context)
        except BaseException as error:
            rpc.active_count -= 1
            rpc.series(_code(error, context)).observe(time.perf_counter() - begin_s)
            raise
        rpc.active_count -= 1
        code = context.code()
        series = ok if code is None else rpc.series(code.name)
        series.observe(time.perf_counter() - begin_s)
        return response

    return measured


def _traced(behavior: Behavior, rpc_name: str, tracing: "Tracing") -> Behavior:
    """Make a span of a call."""

    async def traced(request: Any, context: Context) -> Any:
        span = tracing.begin(rpc_name, context)
        if span is None:
            return await behavior(request, context)
        try:
            response = await behavior(request, context)
        except BaseException as error:
            span.end(_code(error, context), error, context.details())
            raise
        code = context.code()
        span.end("OK" if code is None else code.name, details=context.details())
        return response

    return traced


def _writing(answer: Any) -> Behavior:
    """Answer a stream in a coroutine, which begins and ends in one task; also one that a generator answers."""

    async def write(request: Any, context: Context) -> None:
        answers = answer(request, context)
        if not isinstance(answers, AsyncGenerator):
            await answers
            return
        async with aclosing(answers):
            async for response in answers:
                await context.write(response)

    return write


def _code(error: BaseException, context: Context) -> str:
    """Return the name of the status that a call ended with that did not end well."""
    if isinstance(error, asyncio.CancelledError):
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    code = context.code()  # of an abort
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"  # what gRPC makes of an exception
