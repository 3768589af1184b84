"""What stands around the standard services: has the caller a key, where one is asked for."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc

from recwire_server.access.authorization import Authorization
from recwire_server.access.role import Role
from recwire_server.service.boundary import end_call
from recwire_server.service.status import ErrorTeller
from recwire_server.telemetry.call import ObservedServer

Context = grpc.aio.ServicerContext[Any, Any]


class KeyGuard:
    """Registers servicers on a server whose rpcs ask for any valid key, if for one at all, and for nothing else.

    Stands in for the server in the generated `add_...Servicer_to_server` functions, as the boundary does; but health
    answers in every phase, and these servicers end their calls themselves.
    """

    def __init__(self, server: ObservedServer, authorization: Authorization, teller: ErrorTeller) -> None:
        self._server = server
        self._authorization = authorization
        self._teller = teller

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions hand over the same rpcs by name, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register a service's rpcs."""
        guarded = {name: self._guarded(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, guarded)

    def _guarded(self, rpc: str, handler: Any) -> Any:
        async def may_call(context: Context) -> bool:
            """Return whether the call goes on; if not, how it ends is said."""
            try:
                await self._authorization.caller(rpc, Role.READ, context)
            except Exception as error:
                await end_call(rpc, error, context, self._teller)
                return False
            return True

        async def unary_unary(request: Any, context: Context) -> Any:
            return await handler.unary_unary(request, context) if await may_call(context) else None

        async def streamed(request: Any, context: Context) -> AsyncIterator[Any]:
            if not await may_call(context):
                return
            async with aclosing((handler.unary_stream or handler.stream_stream)(request, context)) as responses:
                async for response in responses:
                    yield response

        around = {"unary_unary": unary_unary, "unary_stream": streamed, "stream_stream": streamed}
        (kind,) = (kind for kind in around if getattr(handler, kind) is not None)
        return handler._replace(**{kind: around[kind]})
