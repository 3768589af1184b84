"""The benchmarks by name, which are quick, and how one is run."""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from benchmarks import (
    embed_beside_bulk,
    embed_rpc,
    embed_served,
    encoder,
    encoder_sweep,
    freshness,
    importing,
    load,
    memory,
    overload,
    recall,
    recommend,
    recommend_options,
    restart,
    scaling,
    smoke,
    soak,
    start,
    stress,
    update_user,
)
from recwire_server.encoder.device import Device

BENCHMARKS: Mapping[str, ModuleType] = {
    # Each has `run(quick)`, or `run(quick, device)` where a device can be chosen, which returns what is kept, ready for
    # JSON; `table(result)` for people; some have `plot(result)`, which returns a matplotlib Figure.
    "smoke": smoke,
    "start": start,
    "embed_rpc": embed_rpc,
    "embed_beside_bulk": embed_beside_bulk,
    "embed_served": embed_served,
    "encoder": encoder,
    "encoder_sweep": encoder_sweep,
    "recommend": recommend,
    "recommend_options": recommend_options,
    "recall": recall,
    "stress": stress,
    "soak": soak,
    "update_user": update_user,
    "freshness": freshness,
    "restart": restart,
    "load": load,
    "import": importing,
    "memory": memory,
    "scaling": scaling,
    "overload": overload,
}
QUICK_SET = (
    # What `--quick` runs without names, together in ten minutes on two cores.
    "smoke",
    "start",
    "embed_rpc",
    "embed_beside_bulk",
    "encoder",
    "recommend_options",
    "recall",
    "update_user",
    "restart",
    "import",
    "memory",
    "scaling",
)


def takes_device(name: str) -> bool:
    """Return whether a device can be chosen for this benchmark."""
    return "device" in inspect.signature(BENCHMARKS[name].run).parameters


def summary(name: str) -> str:
    """Return the first line of what a benchmark says of itself, without its name."""
    told = inspect.getdoc(BENCHMARKS[name]) or ""
    return told.partition("\n")[0].removeprefix(f"{name}: ")


def run(name: str, quick: bool, device: Device) -> Mapping[str, Any]:
    """Return the result of a benchmark. device: counts where one can be chosen."""
    chosen = (device,) if takes_device(name) else ()
    result: Mapping[str, Any] = BENCHMARKS[name].run(quick, *chosen)
    return result
