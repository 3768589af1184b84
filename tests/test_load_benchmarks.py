"""The benchmarks of load and of Embed over gRPC: a tiny run gives a complete result, which survives JSON."""

import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType

from benchmarks import embed_rpc, load
from benchmarks.embed_throughput import embed_all
from benchmarks.load_overhead import H2LOAD, OURS
from recwire_server.encoder import LongText, Purpose
from recwire_server.encoder.device import Device
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder


@pytest.fixture(autouse=True)
def _model(int8_model: Path, model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECWIRE_CACHE_DIR", str(model_cache))


def test_load_tells_of_each_call_and_load():
    """What was offered has an outcome each, and the generator is compared with h2load where that is installed."""
    size = load.Size(200, 5, 3, rounds=1, duration_s=0.2, warm_up_s=0.1, loads=(0.3, 0.6))
    result = json.loads(json.dumps(load.measure_loads(size)))
    assert list(result["loaded"]) == ["recommend", "update_user", "embed"]
    for loaded in result["loaded"].values():
        assert [stage["load"] for stage in loaded["stages"]] == [0.3, 0.6]
        for stage in loaded["stages"]:
            assert stage["offered"] == sum(stage[name] for name in ("served", "refused", "late", "failed")) > 0
            assert len(stage["rounds_p99_ms"]) == 1
    overhead = result["overhead"]
    assert bool(overhead["not_measured"]) is (shutil.which("h2load") is None)
    for by_whom in overhead["calls"].values():
        assert set(by_whom) | set(overhead["not_measured"]) == {OURS, H2LOAD}
        assert all(cost["client_cpu_ms"] > 0 < cost["server_cpu_ms"] for cost in by_whom.values())
    assert "recommend" in shown(load.table(result))
    assert len(load.plot(result).axes) == 6


def test_embed_rpc_tells_of_calls_alone_and_in_bulk():
    """Beside the model in process and, where torch is there, the naive loop."""
    size = embed_rpc.Size(rounds=1, calls=2, warm_up_calls=1, bulk_rounds=1, long_texts=4, short_texts=12)
    result = json.loads(json.dumps(embed_rpc.measure_embed(size, Device.CPU)))
    assert set(result["alone"]) | set(result["not_measured"]) >= {"encode", "empty_call", "embed", "naive_loop"}
    assert bool(result["times_naive"]) != bool(result["not_measured"])
    for kind, count in (("short", 12), ("items", 4)):
        assert result["throughput"]["texts"][kind]["count"] == count
        assert set(result["throughput"]["share"][kind]) == {"embed_stream", "embed_calls"}
    assert "in bulk" in shown(embed_rpc.table(result))


def test_texts_in_process_are_embedded_in_their_order():
    """Whatever batches they are sorted into, within the bounds."""
    encoder = HashEncoder(max_tokens=16)
    texts = [" ".join(f"word{place}" for place in range(number % 20)) for number in range(40)]
    vectors = embed_all(encoder, texts, max_batch_size=4, max_batch_tokens=32)
    expected = [one.vector for one in encode(encoder, texts, Purpose.DOCUMENT, LongText.TRUNCATE)]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def shown(table: RenderableType) -> str:
    terminal = Console(width=200, file=StringIO(), record=True)
    terminal.print(table)
    return terminal.export_text()
