"""Chroma: its own server, by HTTP, with a collection for inner products."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rivals.rival import EF_CONSTRUCTION, M, unseen
from benchmarks.rivals.server import ServerProcesses, free_port, running
from recwire_server.vector import Vector, Vectors

COLLECTION = "items"
ITEMS_A_CALL = 2_000  # the server takes 5,461 at most


@contextmanager
def chroma(folder: Path) -> Iterator["Chroma"]:
    """Run a server on files in this folder, which need not be there, for the length of the block."""
    import chromadb  # noqa: F401, what is missing is told before anything starts

    folder.mkdir(parents=True)
    with ExitStack() as exit_stack:
        yield Chroma(folder, exit_stack)


class Chroma:
    """A `Rival`; see there."""

    where = "a server process, by HTTP"
    knob = "ef_search"
    efforts: Sequence[int] = (64, 96, 128, 192, 256, 384, 512, 768, 1024)

    def __init__(self, folder: Path, exit_stack: ExitStack) -> None:
        self._folder = folder
        self._server = exit_stack.enter_context(ExitStack())
        self._core: int | None = None
        self._effort = 0
        self.version = f"Chroma {version('chromadb')}"
        self._client, self._processes = self._start()
        self._collection: Any = None

    def build(self, rows: Vectors) -> None:
        graph = {"space": "ip", "max_neighbors": M, "ef_construction": EF_CONSTRUCTION}
        self._collection = self._client.create_collection(COLLECTION, configuration={"hnsw": graph})
        for first in range(0, len(rows), ITEMS_A_CALL):
            some = rows[first : first + ITEMS_A_CALL]
            ids = [str(item) for item in range(first, first + len(some))]
            self._collection.add(ids=ids, embeddings=some)

    def pin(self, core: int) -> None:
        self._core = core
        self._processes.pin(core)

    def set_effort(self, effort: int) -> None:
        """Set it, and start the server anew: what it has loaded goes on with the effort of before."""
        if effort == self._effort:
            return
        self._effort = effort
        self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
        self._server.close()
        self._client, self._processes = self._start()
        self._collection = self._client.get_collection(COLLECTION)
        if self._core is not None:
            self._processes.pin(self._core)

    def search(self, query: Vector, seen: Sequence[int], k: int) -> list[int]:
        found = self._collection.query(query_embeddings=[query], n_results=k + len(seen), include=[])
        return unseen([int(item) for item in found["ids"][0]], seen, k)

    def cpu_s(self) -> float:
        return self._processes.cpu_s()

    def memory_bytes(self) -> int:
        return self._processes.memory_bytes()

    def _start(self) -> tuple[Any, ServerProcesses]:
        """Return a client of a server that has just started, and the server."""
        import chromadb
        from chromadb.config import Settings

        port = free_port()
        program = Path(sys.executable).with_name("chroma")
        command = [str(program), "run", "--path", str(self._folder), "--host", "127.0.0.1", "--port", str(port)]
        processes = self._server.enter_context(running(command, "listening on address"))
        settings = Settings(anonymized_telemetry=False)
        return chromadb.HttpClient("127.0.0.1", port, settings=settings), processes
