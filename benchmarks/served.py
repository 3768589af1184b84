"""A server of one's own to measure: a process apart, with a catalogue and users."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from recwire import Client, RecwireError
from recwire.v1.admin_service_pb2 import GetServerInfoResponse
from recwire_server.device_default import settings_for
from recwire_server.encoder.device import Device
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.cache import export_default_model, find_default_model
from recwire_server.model.recipe import Precision
from recwire_server.setting_source import load_settings

TEXT = "a long walk in the mountains with an old friend"  # 12 tokens
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"  # real catalogues, beside the project where there are any
FILMS = SHARED_DATA / "ml-latest-small"
# Of servers that are asked for all that they can do: what waits is not refused, as it would be by default.
PATIENT = ("--max-queue-wait-s", "60", "--max-standing-wait-s", "60")
NO_REVISION_YET = 2**62
LOOK_S = 0.1  # how late it may be noticed that an index is built


@dataclass(frozen=True)
class Served:
    """A server that takes calls, and its process."""

    address: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server has used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def threads_cpu_s(self) -> float:
        """Return the same of the threads that live, to the nanosecond (Linux), where cpu_s knows hundredths."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def served(data_dir: Path, *flags: str, log: Path | None = None) -> Iterator[Served]:
    """Run a server on data_dir and a free port for the length of the block.

    flags: of `serve`, beside the defaults. log: where its standard error goes; None: where this process's goes.
    """
    command = [sys.executable, "-m", "recwire_server"]
    serve = [*command, "serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0", *flags]
    with (
        nullcontext() if log is None else log.open("w") as errors,
        subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start; its message is above")
        try:
            yield Served(line.split()[-1], psutil.Process(process.pid))
        finally:
            process.terminate()


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and the threads and processes that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def settled(client: Client) -> GetServerInfoResponse:
    """Return the server's state once no index is being built; one that a write makes due is, once that is
    acknowledged."""
    while (info := client.get_server_info()).index.is_rebuilding:
        with suppress(RecwireError):  # a call that waits for what does not come leaves the processor to the builder
            client.recommend("nobody", limit=1, min_revision=NO_REVISION_YET, timeout_s=LOOK_S)
    return info


def default_encoder(device: Device = Device.CPU) -> OnnxEncoder:
    """Return the encoder that a server with default settings has."""
    return OnnxEncoder.load(default_model(settings_for(device, load_settings({})).precision), device)


def default_model(precision: Precision) -> Path:
    """Return the folder of recwire's default model, exported first where the tools for that are installed."""
    cache_dir = load_settings({}).cache_dir
    found = find_default_model(precision, cache_dir)
    return found or export_default_model(precision, cache_dir, Console(stderr=True).print)


def append_and_fdatasync(path: Path, size: int) -> Callable[[], None]:
    """Return what appends so many bytes to a file and has the disk keep them: what a durable write cannot go below."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append() -> None:
        os.write(file, bytes(size))
        os.fdatasync(file)

    return append


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
