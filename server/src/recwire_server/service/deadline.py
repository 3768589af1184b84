"""Until when a call has to be answered."""

import time
from math import inf
from typing import Any

import grpc


def deadline_s(context: grpc.aio.ServicerContext[Any, Any], default_timeout_s: float = inf) -> float:
    """Return the call's deadline as a time.monotonic(); by the default if it has none, inf without a default."""
    remaining_s = context.time_remaining()
    return time.monotonic() + (default_timeout_s if remaining_s is None else remaining_s)
