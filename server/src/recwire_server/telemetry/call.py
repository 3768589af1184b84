"""What is measured around every rpc: how many are under way, how each ended and when."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
from prometheus_client import Histogram

from recwire_server.telemetry.metric import Metrics

if TYPE_CHECKING:  # imports OpenTelemetry
    from recwire_server.telemetry.tracing import ServerSpan, Tracing

Context = grpc.aio.ServicerContext[Any, Any]


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
        rpc = self._rpcs.setdefault(rpc_name, _Rpc(rpc_name, self._duration))

        async def unary_unary(request: Any, context: Context) -> Any:
            with _Call(rpc, context, self._tracing):
                return await handler.unary_unary(request, context)

        # A coroutine also around generators: it begins and ends in one task, whose spans are one call's.
        def streaming(answer: Any) -> Any:
            async def stream(request: Any, context: Context) -> None:
                with _Call(rpc, context, self._tracing):
                    answers = answer(request, context)
                    if not isinstance(answers, AsyncGenerator):
                        await answers
                        return
                    async with aclosing(answers):
                        async for response in answers:
                            await context.write(response)

            return stream

        if handler.unary_unary is not None:
            return handler._replace(unary_unary=unary_unary)
        (kind,) = (kind for kind in ("unary_stream", "stream_stream") if getattr(handler, kind) is not None)
        return handler._replace(**{kind: streaming(getattr(handler, kind))})


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

    __slots__ = ("_by_code", "_duration", "active_count", "name")

    def __init__(self, name: str, duration: Histogram) -> None:
        self.name = name
        self.active_count = 0
        self._duration = duration
        self._by_code: dict[str, Histogram] = {}
        self.series("OK")

    def series(self, code: str) -> Histogram:
        """Return the durations of calls that ended with a code."""
        series = self._by_code.get(code)
        if series is None:
            series = self._by_code[code] = self._duration.labels("grpc", self.name, code)
        return series


class _Call:
    """One call, from the beginning of the block to its end."""

    __slots__ = ("_begin_s", "_context", "_rpc", "_span", "_tracing")

    def __init__(self, rpc: _Rpc, context: Context, tracing: "Tracing | None") -> None:
        self._rpc = rpc
        self._context = context
        self._tracing = tracing
        self._span: ServerSpan | None = None

    def __enter__(self) -> Self:
        self._rpc.active_count += 1
        if self._tracing is not None:
            self._span = self._tracing.begin(self._rpc.name, self._context)
        self._begin_s = time.perf_counter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        duration_s = time.perf_counter() - self._begin_s
        self._rpc.active_count -= 1
        code = "OK" if exc is None else _code(exc, self._context)
        self._rpc.series(code).observe(duration_s)
        if self._span is not None:
            self._span.end(code, exc, self._context.details())


def _code(error: BaseException, context: Context) -> str:
    """Return the name of the status that a call ended with that did not end well."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    code = context.code()  # of an abort
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"  # what gRPC makes of an exception
