"""python -m benchmarks.counting_server SETTINGS: a server with the default model. SETTINGS are JSON, by their names.

At SIGUSR1 it prints how many asyncio tasks it has.
"""

import asyncio
import json
import signal
import sys

import uvloop

from benchmarks.served import default_encoder
from recwire_server import serving
from recwire_server.config import Settings
from recwire_server.setting_source import load_settings


async def serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(len(asyncio.all_tasks(loop)), flush=True))
    await serving.serve(settings, default_encoder())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load_settings(json.loads(sys.argv[1]))))
