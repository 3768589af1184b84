"""Until when a call has to be answered."""

import time
from math import inf
from typing import Any

import grpc


def deadline_s(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """Return the call's deadline as a time.monotonic(); inf if it has none."""
    remaining_s = context.time_remaining()
    return inf if remaining_s is None else time.monotonic() + remaining_s
