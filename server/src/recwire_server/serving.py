"""A server as a process: its signals, the line that says where it is, its garbage."""

import asyncio
import gc
import signal

from recwire_server.app import App
from recwire_server.config import Settings
from recwire_server.encoder import Encoder


async def serve(settings: Settings, encoder: Encoder) -> None:
    """Serve until SIGTERM or SIGINT; say on standard output where, once calls are taken. A second signal ends it at
    once, and SIGHUP reads keys and certificates again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    app = App(settings, encoder)
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    gc.disable()  # what a start makes is there to stay
    async with app:
        _collect_garbage_seldom()
        print(f"recwire is serving on {app.address}", flush=True)
        await stop.wait()


def _collect_garbage_seldom() -> None:
    """Let the garbage collector look at what is made from now on, and seldom.

    What calls leave behind are users' events, which stay; hardly anything is garbage in cycles. Python's own thresholds
    take 7 % of an update's CPU, and make pauses that grow with what is in memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 5, 1_000)
    gc.enable()
