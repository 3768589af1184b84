"""A server of one's own to measure: a process apart, with a catalogue and users."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

FILMS = Path(__file__).parents[2] / "shared" / "data" / "ml-latest-small"


@dataclass(frozen=True)
class Served:
    """A server that takes calls, and its process."""

    address: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server has used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def served(data_dir: Path) -> Iterator[Served]:
    """Run a server on data_dir with default settings and a free port, for the length of the block."""
    command = [sys.executable, "-m", "recwire_server"]
    serve = [*command, "serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start; its message is above")
        try:
            yield Served(line.split()[-1], psutil.Process(process.pid))
        finally:
            process.terminate()


@dataclass(frozen=True)
class Data:
    """Files of a catalogue and of behaviour."""

    name: str
    items: Path
    events: Path


def data() -> Data:
    """Return the films where they lie beside the project, else what ships."""
    if FILMS.is_dir():
        return Data("ml-latest-small", FILMS / "items.jsonl.gz", FILMS / "interactions.tsv.gz")
    from recwire_server import demo

    return Data("shipped", Path(str(demo.catalogue())), Path(str(demo.behaviour())))


def import_data(files: Data, address: str) -> None:
    """Import items and events through the public API."""
    for noun, file in (("items", files.items), ("events", files.events)):
        subprocess.run([sys.executable, "-m", "recwire_server", "import", noun, str(file), "--to", address], check=True)
