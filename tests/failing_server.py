"""A server whose encoder fails, in a process of its own, with the log that `serve` writes.

python tests/failing_server.py SETTINGS, which are JSON, by their names.
"""

import asyncio
import json
import sys
from collections.abc import Sequence

from recwire_server import serving
from recwire_server.cli.serve import start_log
from recwire_server.encoder import Vector
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder


class FailingEncoder(HashEncoder):
    """An encoder with a bug."""

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Fail."""
        raise ZeroDivisionError("a bug\nin two lines")


if __name__ == "__main__":
    settings = load_settings(json.loads(sys.argv[1]))
    start_log(settings)
    asyncio.run(serving.serve(settings, FailingEncoder()))
