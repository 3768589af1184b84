"""What the log keeps of who did what: a line for every call of AdminService, and for every reading of the keys.

Each has its values as fields of the record too (`extra`), for logs that are read by programs.
"""

import asyncio
import logging
from collections.abc import Set
from typing import Any

import grpc

logger = logging.getLogger("recwire_server.audit")

Context = grpc.aio.ServicerContext[Any, Any]


def admin_call(rpc: str, key_id: str, context: Context) -> None:
    """Log a call once it has ended. key_id: as the caller names it, which need not be true where the code is
    UNAUTHENTICATED; empty: none."""
    peer = context.peer()

    def log(task: object) -> None:
        code = _outcome(context)
        fields = {"rpc": rpc, "key_id": key_id, "code": code, "peer": peer}
        logger.info("%s by key %s from %s: %s", rpc, key_id or "(none)", peer, code, extra=fields)

    call = asyncio.current_task()
    assert call is not None, "gRPC runs each call in a task"
    call.add_done_callback(log)  # not the context's own, see Lifecycle.begin_call


def keys_reloaded(before: Set[str], after: Set[str]) -> None:
    """Log that the keys were read again. before, after: their ids."""
    added, removed = sorted(after - before), sorted(before - after)
    fields = {"key_count": len(after), "added_key_ids": added, "removed_key_ids": removed}
    told = f"added {', '.join(added) or 'none'}; removed {', '.join(removed) or 'none'}"
    logger.info("API keys read again: %d; %s", len(after), told, extra=fields)


def keys_not_reloaded() -> None:
    """Log that the keys could not be read again."""
    logger.warning("API keys not read again: the file cannot be read")


def _outcome(context: Context) -> str:
    if not context.done():  # no status was sent: the caller went away, or its deadline passed
        return grpc.StatusCode.CANCELLED.name
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK.name
