"""The benchmarks by name, how one is run, and what is kept of it."""

import inspect
import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import (
    embed_beside_bulk,
    embed_rpc,
    encoder,
    load,
    overload,
    recall,
    recommend,
    restart,
    smoke,
    soak,
    start,
    stress,
    update_user,
)

BENCHMARKS: Mapping[str, ModuleType] = {
    # Each has `run(quick)`, or `run(quick, device)` where a device can be chosen, which returns what is kept, ready for
    # JSON; `table(result)` for people; some have `plot(result)`, which returns a matplotlib Figure.
    "smoke": smoke,
    "start": start,
    "embed_rpc": embed_rpc,
    "embed_beside_bulk": embed_beside_bulk,
    "encoder": encoder,
    "recommend": recommend,
    "recall": recall,
    "stress": stress,
    "soak": soak,
    "update_user": update_user,
    "restart": restart,
    "load": load,
    "overload": overload,
}


class Device(StrEnum):
    """What runs the model."""

    CPU = "cpu"
    CUDA = "cuda"


def takes_device(name: str) -> bool:
    """Return whether a device can be chosen for this benchmark."""
    return "device" in inspect.signature(BENCHMARKS[name].run).parameters


def run(name: str, quick: bool, device: Device) -> Mapping[str, Any]:
    """Return the result of a benchmark. device: counts where one can be chosen."""
    chosen = (device,) if takes_device(name) else ()
    result: Mapping[str, Any] = BENCHMARKS[name].run(quick, *chosen)
    return result


def keep(path: Path, stamp: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write results by name, and what they were run on, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": stamp, "results": results}, indent=1) + "\n")
