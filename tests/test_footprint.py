"""What a server without items costs: the time to its first embedding, and memory."""

import time
from pathlib import Path

import pytest
from server_process import serving

MAX_FIRST_EMBEDDING_S = 3.0  # 0.7 s on an idle machine; the bound is for a machine that also does other things
MAX_RESIDENT_BYTES = 180_000_000
LONG_TEXT = "spice " * 300  # more than the 256 tokens that MiniLM takes


def test_the_first_embedding_comes_soon(int8_model, tmp_path):
    """A server embeds within moments of its process's start."""
    with serving(int8_model, tmp_path) as server:
        called_s = time.monotonic()
        server.client.embed(["a text"])
        assert server.start_s + time.monotonic() - called_s < MAX_FIRST_EMBEDDING_S


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_memory_stays_small(int8_model, tmp_path):
    """With MiniLM in int8 a server stays under 180 MB, after many texts and after long ones."""
    with serving(int8_model, tmp_path) as server:
        for number in range(100):
            server.client.embed([f"a text about hiking, {number}"])
        assert resident_bytes(server.pid) < MAX_RESIDENT_BYTES
        for number in range(5):
            server.client.embed([f"{number} {place} {LONG_TEXT}" for place in range(8)])
        assert resident_bytes(server.pid) < MAX_RESIDENT_BYTES


def resident_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])
