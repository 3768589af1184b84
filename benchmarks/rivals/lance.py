"""LanceDB: a library in this process, with an IVF index of one partition that is an HNSW graph of 8-bit codes."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import get_native_id
from typing import Any

from benchmarks.rivals.rival import EF_CONSTRUCTION, M, unseen
from recwire_server.memory import resident_bytes
from recwire_server.vector import Vector, Vectors

REFINED = 2  # times as many as are wanted are scored exactly


@contextmanager
def lance(folder: Path) -> Iterator["Lance"]:
    """Open a database in this folder, which need not be there."""
    import lancedb

    yield Lance(lancedb.connect(str(folder)))


class Lance:
    """A `Rival`; see there."""

    where = "in this process, on a core of its own"
    knob = "ef"
    efforts: Sequence[int] = (128, 192, 256, 384, 512, 768, 1024)

    def __init__(self, database: Any) -> None:
        self._database = database
        self._table: Any = None
        self._effort = self.efforts[0]
        self._before_bytes = resident_bytes()
        self.version = f"LanceDB {version('lancedb')}"

    def build(self, rows: Vectors) -> None:
        import pyarrow
        from lancedb.index import HnswSq

        vectors = pyarrow.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])
        items = pyarrow.table({"id": pyarrow.array(range(len(rows)), pyarrow.int32()), "vector": vectors})
        self._table = self._database.create_table("items", items)
        graph = HnswSq(distance_type="dot", num_partitions=1, m=M, ef_construction=EF_CONSTRUCTION)
        self._table.create_index("vector", config=graph)

    def pin(self, core: int) -> None:
        """Keep the threads that it has started on one core; this one stays where it is."""
        for thread in Path("/proc/self/task").iterdir():
            if int(thread.name) != get_native_id():
                os.sched_setaffinity(int(thread.name), {core})

    def set_effort(self, effort: int) -> None:
        self._effort = effort

    def search(self, query: Vector, seen: Sequence[int], k: int) -> list[int]:
        asked = self._table.search(query, "vector").metric("dot").nprobes(1).ef(self._effort)
        found = asked.refine_factor(REFINED).limit(k + len(seen)).select(["id", "_distance"]).to_arrow()
        return unseen(found["id"].to_pylist(), seen, k)

    def cpu_s(self) -> float:
        return time.process_time()

    def memory_bytes(self) -> int:
        """Return what this process has grown by since it was opened."""
        return resident_bytes() - self._before_bytes
