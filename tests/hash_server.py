"""A server with the hash encoder in a process of its own, which needs no model and starts in half a second.

python tests/hash_server.py DIM SETTINGS, which are JSON, by their names. At SIGUSR1 it prints how many tasks it has.
"""

import asyncio
import json
import signal
import sys

from recwire_server import serving
from recwire_server.config import Settings
from recwire_server.encoder import Encoder
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder


async def serve(settings: Settings, encoder: Encoder) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(len(asyncio.all_tasks(loop)), flush=True))
    await serving.serve(settings, encoder)


if __name__ == "__main__":
    dim, settings = sys.argv[1:]
    asyncio.run(serve(load_settings(json.loads(settings)), HashEncoder(int(dim))))
