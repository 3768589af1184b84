"""hnswlib in this process: the limit of what searches a graph of whole vectors, with nothing around it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rivals.rival import EF_CONSTRUCTION, M, unseen
from recwire_server.memory import resident_bytes
from recwire_server.vector import Vector, Vectors

SEED = 7


@contextmanager
def raw_hnsw(folder: Path) -> Iterator["RawHnsw"]:
    """Open an index; it has no files."""
    yield RawHnsw()


class RawHnsw:
    """A `Rival`; see there."""

    where = "in this process, on the client's core"
    knob = "ef"
    # As recwire's own steps are, and finer: what is the limit should not be wide by a step.
    efforts: Sequence[int] = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 1536)

    def __init__(self) -> None:
        self._index: Any = None
        self._before_bytes = resident_bytes()
        self.version = f"hnswlib {version('hnswlib')}"

    def build(self, rows: Vectors) -> None:
        import hnswlib

        self._index = hnswlib.Index(space="ip", dim=rows.shape[1])
        self._index.init_index(len(rows), ef_construction=EF_CONSTRUCTION, M=M, random_seed=SEED)
        self._index.add_items(rows)

    def pin(self, core: int) -> None:
        """It works where this process does."""

    def set_effort(self, effort: int) -> None:
        self._index.set_ef(effort)

    def search(self, query: Vector, seen: Sequence[int], k: int) -> list[int]:
        labels, _ = self._index.knn_query(query, k + len(seen), num_threads=1)
        return unseen(labels[0].tolist(), seen, k)

    def cpu_s(self) -> float:
        return time.process_time()

    def memory_bytes(self) -> int:
        """Return what this process has grown by since it was opened."""
        return resident_bytes() - self._before_bytes
