"""Embed beside another server of embeddings: who is called, and what is told."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from rich.console import Console

from benchmarks.embed_served import BATCH_SIZE, KINDS, Rival, Size, compare, embed, table
from benchmarks.infinity import PYTHON_VARIABLE, InfinityClient, InfinityError, find_python
from benchmarks.served import Served
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.encoder import Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder

TEXTS = [f"text {number}" for number in range(20)]
SIZE = Size(rounds=2, calls=3)


def test_both_servers_are_told_alike(told: dict[str, dict[str, Any]]) -> None:
    """Each has all kinds of calls, in all rounds, with texts a second and its spread."""
    assert list(told) == ["recwire", "rival"]
    for server in told.values():
        assert set(server["calls"]) == set(KINDS)
        for kind, call in server["calls"].items():
            assert call["call_count"] == SIZE.rounds * SIZE.calls
            text_count = 1 if kind == "single" else BATCH_SIZE
            assert call["texts_per_s"] == pytest.approx(1e3 * text_count / call["p50_ms"], rel=0.01)
            assert call["texts_per_s_quartiles"][0] <= call["texts_per_s_quartiles"][1]


def test_another_model_shows(told: dict[str, dict[str, Any]]) -> None:
    """A server that makes other vectors of the same texts is found out by the cosine."""
    assert told["recwire"]["mean_cosine"] == pytest.approx(1.0, abs=1e-5)
    assert abs(told["rival"]["mean_cosine"]) < 0.5


def test_result_is_shown(told: dict[str, dict[str, Any]]) -> None:
    """With who is not there, and why."""
    result = {"data": "some texts", "servers": told, "not_measured": {"infinity-emb, torch": "not installed"}}
    terminal = Console(width=200, file=StringIO(), record=True)
    terminal.print(table(json.loads(json.dumps(result))))
    shown = terminal.export_text()
    assert all(words in shown for words in ("recwire", "rival", *KINDS.values(), "infinity-emb, torch: not installed"))


def test_missing_rival_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and the commands are in the message."""
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    with pytest.raises(InfinityError, match=f"{PYTHON_VARIABLE} names no python.*infinity-requirements"):
        find_python()


def test_python_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no crash of the benchmark."""
    monkeypatch.setenv(PYTHON_VARIABLE, "/no/such/python")
    with pytest.raises(InfinityError, match="/no/such/python"):
        find_python()


@pytest.fixture
def told(start_server: Any, rival_address: str) -> Iterator[dict[str, dict[str, Any]]]:
    """A server with a hash encoder beside one over HTTP that makes random vectors."""
    process = psutil.Process()
    address = start_server().address
    reference = np.stack([one.vector for one in encode(HashEncoder(), TEXTS[:4], Purpose.DOCUMENT)])
    with grpc.insecure_channel(address) as channel:
        rivals = {
            "recwire": Rival(Served(address, process), partial(embed, RecommenderServiceStub(channel))),
            "rival": Rival(Served(rival_address, process), InfinityClient(rival_address, BATCH_SIZE).embed),
        }
        yield compare(rivals, TEXTS, reference, SIZE)


@pytest.fixture
def rival_address() -> Iterator[str]:
    """HOST:PORT of a server that answers as infinity-emb does."""
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, request["encoding_format"]) == ("/embeddings", "base64")
        rows = np.random.default_rng(7).standard_normal((len(request["input"]), HashEncoder().dim), np.float32)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        body = json.dumps({"data": [{"embedding": b64encode(row.tobytes()).decode()} for row in unit]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
