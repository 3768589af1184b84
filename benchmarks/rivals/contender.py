"""All rivals, and which of them are missing here."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from benchmarks.rivals.chroma import chroma
from benchmarks.rivals.lance import lance
from benchmarks.rivals.postgres import postgres
from benchmarks.rivals.raw_hnsw import raw_hnsw
from benchmarks.rivals.redis_server import redis_server
from benchmarks.rivals.rival import Rival
from recwire_server.vector import Vectors

AnyRival = TypeVar("AnyRival", bound=Rival)
Opener = Callable[[Path], AbstractContextManager[AnyRival]]
"""Opens a rival with its files in a folder, for the length of a block."""

PGVECTOR, REDIS, CHROMA, LANCEDB, RAW = "pgvector", "Redis", "Chroma", "LanceDB", "raw hnswlib"
RIVALS: Mapping[str, Opener[Rival]] = {
    RAW: raw_hnsw,
    PGVECTOR: postgres,
    REDIS: redis_server,
    CHROMA: chroma,
    LANCEDB: lance,
}


@dataclass(frozen=True)
class Opened(Generic[AnyRival]):
    """Those that are here, by name, and why the others are not."""

    rivals: Mapping[str, AnyRival]
    not_measured: dict[str, str]


@contextmanager
def opened(folder: Path, openers: Mapping[str, Opener[AnyRival]]) -> Iterator[Opened[AnyRival]]:
    """Open those whose packages are installed, for the length of the block."""
    rivals: dict[str, AnyRival] = {}
    not_measured: dict[str, str] = {}
    with ExitStack() as exit_stack:
        for name, opener in openers.items():
            try:
                rivals[name] = exit_stack.enter_context(opener(folder / name.replace(" ", "-")))
            except ModuleNotFoundError as error:
                not_measured[name] = f"{error}; pip install -c constraints.txt -r benchmarks/requirements.txt"
        yield Opened(rivals, not_measured)


def build(rival: Rival, rows: Vectors, core: int) -> float:
    """Have a rival index the items, with all cores, and work on one from then on; return the seconds it took."""
    begin_s = time.perf_counter()
    rival.build(rows)
    rival.pin(core)
    return time.perf_counter() - begin_s
