"""The benchmarks of size: their pieces against plain oracles, and tiny runs, whose results are whole."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import importing, memory, scaling
from benchmarks.markdown import markdown
from benchmarks.memory import KINDS, Sample, fitted, footprint, measure_memory
from benchmarks.report import can_draw
from benchmarks.scaling.comparison import Extent, measure_scaling
from benchmarks.scaling.history import user_count

MIB = 2**20


@pytest.fixture
def default_model(int8_model: Path, model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks' servers have the tests' model."""
    monkeypatch.setenv("RECWIRE_CACHE_DIR", str(model_cache))


def shown(module: Any, result: Mapping[str, Any]) -> str:
    """Return the tables, made of JSON alone; a plot is drawn where matplotlib is installed."""
    kept = json.loads(json.dumps(result))
    assert "nan" not in json.dumps(kept).lower().split('"')
    if hasattr(module, "plot") and can_draw():
        module.plot(kept)
    return markdown(module.table(kept))


def test_what_one_takes_is_the_slope_of_a_line():
    """By least squares, whatever there was before; r2 is 1 for what lies on a line, or does not change."""
    counts = [0, 100, 200, 400]
    samples = [Sample(count, 5_000 + 30 * count, 5_000, 30 * count, count * count) for count in counts]
    line = fitted(samples)
    assert line["each"] == {
        "resident_bytes": 30.0,
        "own_bytes": 0.0,
        "mapped_bytes": 30.0,
        "disk_bytes": round(float(np.polyfit(counts, np.square(counts), 1)[0]), 1),
    }
    assert [line["r2"][kind] for kind in KINDS[:3]] == [1.0, 1.0, 1.0]
    assert 0.9 < line["r2"]["disk_bytes"] < 1


def test_what_a_process_holds_is_read_of_linux(tmp_path: Path):
    """Memory of its own, files that it maps, and what lies in a directory."""
    before = footprint(os.getpid(), 0, tmp_path)
    with (tmp_path / "file").open("wb") as file:
        for _ in range(128):  # in pieces, of which the allocator keeps nothing that counts
            file.write(os.urandom(MIB // 16))
    own = np.ones(16 * MIB, np.uint8)
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")
    assert own.sum() + mapped.sum(dtype=np.int64) > 16 * MIB
    after = footprint(os.getpid(), 3, tmp_path)
    assert after.count == 3
    assert after.own_bytes - before.own_bytes == pytest.approx(16 * MIB, abs=4 * MIB)
    assert after.mapped_bytes - before.mapped_bytes == pytest.approx(8 * MIB, abs=2 * MIB)
    assert after.resident_bytes == after.own_bytes + after.mapped_bytes
    assert after.disk_bytes - before.disk_bytes == pytest.approx(8 * MIB, rel=0.01)


@pytest.mark.parametrize("length", [1, 10, 19, 100, 10_000])
def test_histories_stay_as_long_as_they_are_told_to_be(length: int):
    """Updates are shared by enough users that none grows by more than a tenth, or by one event."""
    users = user_count(length, 700)
    assert 1 <= users <= 700
    assert math.ceil(700 / users) <= max(1, length / 10)


def test_a_tiny_run_of_memory_is_whole(default_model):
    """Samples and slopes of items in both states, and of users by their events."""
    result = measure_memory(memory.Size(items=(0, 64), users=(0, 16), events_a_user=(300,), items_of_events=20))
    assert {state: [sample["count"] for sample in line["samples"]] for state, line in result["items"].items()} == {
        "imported": [0, 64],
        "restarted": [0, 64],
    }
    assert list(result["users"]) == ["300"]
    assert result["vector_bytes"] == 384 * 4
    assert result["items"]["restarted"]["each"]["disk_bytes"] > 384 * 4
    assert [sample["count"] for sample in result["users"]["300"]["samples"]] == [0, 16]
    assert result["users"]["300"]["each"]["disk_bytes"] > 300 * 16  # an event's time and weight
    tables = shown(memory, result)
    assert all(f"| {what} |" in tables for what in ("an item, restarted", "a user, events: 300"))


def test_a_tiny_run_of_import_is_whole(default_model):
    """Everything goes in, each beside its limit."""
    result = importing.measure_imports(importing.Size(rounds=2, texts=6, vectors=40, events=50))
    assert result["refused"] == 0
    assert {name: pace["count"] for name, pace in result["paces"].items()} == {
        "items_with_texts": 6,
        "raw_encode": 6,
        "items_with_vectors": 40,
        "raw_vector_inserts": 40,
        "events": 50,
        "raw_event_inserts": 50,
    }
    for name, limit in importing.LIMITS.items():
        paces = [result["paces"][one]["per_s"] for one in (name, limit)]
        assert result["per_s_ratio_to_limit"][name] == pytest.approx(paces[0] / paces[1], abs=0.001)
        assert len(result["paces"][name]["rounds_per_s"]) == 2
    assert "0 refused" in shown(importing, result)


def test_a_tiny_run_of_scaling_is_whole(default_model):
    """Sizes with their recall, clients, and histories, no call of which fails."""
    extent = Extent(
        sizes=(50, 100),
        encoded=60,
        asked_size=100,
        in_flight=(1, 4),
        lengths=(1, 300),
        rounds=2,
        calls=3,
        calls_in_flight=10,
        warm_up_calls=2,
    )
    result = measure_scaling(extent)
    assert {size: (one["method"], one["recall"]) for size, one in result["sizes"].items()} == {
        "50": ("exact", 1.0),
        "100": ("exact", 1.0),
    }
    assert {count: one["failed"] for count, one in result["clients"].items()} == {"1": 0, "4": 0}
    assert all(len(one["rounds_calls_per_s"]) == 2 for one in result["clients"].values())
    assert {length: list(calls) for length, calls in result["history"].items()} == {
        "1": ["recommend", "update_user"],
        "300": ["recommend", "update_user"],
    }
    assert {calls[call]["call_count"] for calls in result["history"].values() for call in calls} == {6}
    assert "60 texts encoded" in shown(scaling, result)
