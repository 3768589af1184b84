"""The event loop of whatever serves or calls."""

import asyncio
import sys


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's, which takes less CPU a call, where there is one."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # there is none for Windows

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
