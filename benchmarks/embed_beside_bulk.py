"""embed_beside_bulk: how long a call of Embed takes while a client embeds in bulk, beside the same without.

One text of about 12 tokens a call, one call at a time; the bulk is an endless EmbedStream of such texts from a client
on the same machine. No text comes twice, so that nothing comes from the cache.
"""

from dataclasses import asdict
from itertools import count
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from rich.table import Table

from benchmarks.measurement import Contender, measure
from benchmarks.served import TEXT, served
from benchmarks.table import calls_table
from recwire import Client

ROUNDS, CALLS, WARM_UP_CALLS = 5, 200, 50


class Result(TypedDict):
    """What is kept, ready for JSON; calls: a measurement by contender, as `measurement.Measurement` has it."""

    model: str
    calls: dict[str, dict[str, Any]]
    p50_ratio_to_limit: dict[str, float]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer calls."""
    with (
        TemporaryDirectory(prefix="recwire-embed-beside-bulk-") as folder,
        served(Path(folder) / "data") as server,
        Client(server.address) as client,
    ):
        bulk, numbers = Bulk(server.address), count()

        def embed() -> object:
            return client.embed([f"{TEXT} {next(numbers)}"])

        contenders = {
            "embed": Contender(embed, server.cpu_s, bulk.stop),
            "embed_beside_bulk": Contender(embed, server.cpu_s, bulk.start),
        }
        measured = measure(contenders, ROUNDS, CALLS // 4 if quick else CALLS, WARM_UP_CALLS)
        bulk.stop()
        model = client.get_server_info().model.name
    return {
        "model": model,
        "calls": {name: asdict(measurement) for name, measurement in measured.items()},
        "p50_ratio_to_limit": {
            "embed_beside_bulk": round(measured["embed_beside_bulk"].p50_ms / measured["embed"].p50_ms, 2)
        },
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    return calls_table("embed_beside_bulk", result)


class Bulk:
    """A client in a process of its own, which embeds endlessly between start and stop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._context = get_context("spawn")
        self._process: SpawnProcess | None = None
        self._runs = count()

    def start(self) -> None:
        """Return once the bulk runs."""
        running = self._context.Event()
        self._process = self._context.Process(target=_embed_endlessly, args=(self._address, next(self._runs), running))
        self._process.start()
        running.wait()

    def stop(self) -> None:
        """Return once it has ended, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.join()
            self._process = None


def _embed_endlessly(address: str, run: int, running: Event) -> None:
    with Client(address) as client:
        for _ in client.embed_stream(f"{TEXT} and {run} {number}" for number in count()):
            running.set()
