"""Under everything that callers do, what a server holds does not grow."""

import asyncio
from pathlib import Path

import pytest
from server_process import hash_serve_command

from benchmarks.soak import SETTINGS, Length, soak, soaked_server

MAX_MEMORY_GROWTH, MAX_COUNT_GROWTH = 0.02, 0.01


@pytest.mark.timeout(400)
def test_three_minutes(tmp_path: Path):
    """Memory grows by less than 2 %, descriptors and tasks by less than 1 %, and no call fails."""
    with soaked_server(hash_serve_command(tmp_path / "data", **SETTINGS)) as server:
        result = asyncio.run(soak(server, Length(90, 90, 2)))
    assert result["errors"] == []
    assert min(result["calls"].values()) > 50
    assert result["generations_built"] >= 1
    assert result["growth"]["resident_bytes"] < MAX_MEMORY_GROWTH, result["samples"]
    assert result["growth"]["descriptors"] < MAX_COUNT_GROWTH, result["samples"]
    assert result["growth"]["tasks"] < MAX_COUNT_GROWTH, result["samples"]
