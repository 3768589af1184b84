"""A server with the hash encoder in a process of its own, which needs no model and starts in half a second.

python tests/hash_server.py DIM SETTINGS, which are JSON, by their names.
"""

import asyncio
import json
import sys

from recwire_server import app
from recwire_server.config import load_settings
from recwire_server.testing import HashEncoder

if __name__ == "__main__":
    dim, settings = sys.argv[1:]
    asyncio.run(app.serve(load_settings(json.loads(settings)), HashEncoder(int(dim))))
