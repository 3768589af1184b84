"""start: what a server costs before and after its first call, on an empty catalogue.

Seconds from the start of the process to its line and to the first embedding, beside a bare process that loads the same
model and makes one; and the memory that the server holds.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np
import psutil
from rich.table import Table

from benchmarks.served import default_model, served
from recwire import Client
from recwire_server.setting_source import load_settings

ROUNDS = 15
SHORT_TEXTS = 100
LONG_BATCHES, LONG_BATCH_SIZE = 10, 8
TEXT = "a long walk in the mountains with an old friend"  # 12 tokens
LONG_TEXT = "spice " * 300  # more than the 256 tokens that MiniLM takes

RAW = """
import sys
import numpy, onnxruntime, tokenizers
folder, text = sys.argv[1:]
tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
ids = numpy.array([tokenizer.encode(text).ids])
session.run(["embedding"], {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})
print("embedded", flush=True)
"""


@dataclass(frozen=True)
class Round:
    """One start. Seconds from the start of the process, bytes resident; `raw` is the bare process."""

    line_s: float
    first_embedding_s: float
    raw_s: float
    cpu_s: float
    first_bytes: int
    short_bytes: int
    long_bytes: int


class Result(TypedDict):
    """What is kept, ready for JSON. median: of each figure over the rounds, seconds and bytes as `Round` has them."""

    model: str
    median: dict[str, float]
    p50_ratio_to_raw: float
    rounds: list[dict[str, Any]]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer starts."""
    model = default_model(load_settings({}).precision)
    rounds = [_round(model) for _ in range(3 if quick else ROUNDS)]
    median = {
        name: round(float(np.median([getattr(one, name) for one in rounds])), 4) for name in Round.__dataclass_fields__
    }
    return {
        "model": model.name,
        "median": median,
        "p50_ratio_to_raw": round(median["first_embedding_s"] / median["raw_s"], 2),
        "rounds": [asdict(one) for one in rounds],
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    median = result["median"]
    shown = Table("what", "median", title=f"start: {result['model']}, no items")
    for what, name in (
        ("serving line, s", "line_s"),
        ("first embedding, s", "first_embedding_s"),
        ("the same in a bare process, s", "raw_s"),
        ("CPU to the first embedding, s", "cpu_s"),
    ):
        shown.add_row(what, f"{median[name]:.2f}")
    for what, name in (
        ("resident after it, MB", "first_bytes"),
        (f"after {SHORT_TEXTS} texts, MB", "short_bytes"),
        (f"after {LONG_BATCHES} calls of {LONG_BATCH_SIZE} texts of 256 tokens, MB", "long_bytes"),
    ):
        shown.add_row(what, f"{median[name] / 1e6:.0f}")
    return shown


def _round(model: Path) -> Round:
    raw_s = _raw_s([sys.executable, "-c", RAW, str(model), TEXT])
    with TemporaryDirectory(prefix="recwire-start-") as folder:
        begin_s = time.perf_counter()
        with served(Path(folder) / "data") as server, Client(server.address) as client:
            line_s = time.perf_counter() - begin_s
            client.embed([TEXT])
            first_embedding_s = time.perf_counter() - begin_s
            cpu_s, first_bytes = server.cpu_s(), _resident_bytes(server.process)
            for number in range(SHORT_TEXTS):
                client.embed([f"{TEXT} {number}"])
            short_bytes = _resident_bytes(server.process)
            for number in range(LONG_BATCHES):
                client.embed([f"{number} {place} {LONG_TEXT}" for place in range(LONG_BATCH_SIZE)])
            long_bytes = _resident_bytes(server.process)
    return Round(line_s, first_embedding_s, raw_s, cpu_s, first_bytes, short_bytes, long_bytes)


def _raw_s(command: Sequence[str]) -> float:
    begin_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "embedded\n"
        return time.perf_counter() - begin_s


def _resident_bytes(process: psutil.Process) -> int:
    resident: int = process.memory_info().rss
    return resident
