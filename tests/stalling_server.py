"""A gRPC server that answers every call with nothing, one after the other, and stalls once."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc


class StallingServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Serves on a free port while in `with`. peers: who called, call by call. stall_at: the call, from 0, in which it
    answers nobody for stall_s."""

    def __init__(self, stall_at: int = -1, stall_s: float = 0.0) -> None:
        self.peers: list[str] = []
        self._stall_at, self._stall_s = stall_at, stall_s
        self._server = grpc.server(ThreadPoolExecutor(1), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=0).wait()

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what answers any call."""
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if len(self.peers) == self._stall_at:
            time.sleep(self._stall_s)
        self.peers.append(context.peer())
        return b""
