"""Traces of calls, as a collector gets them; and that tracing never stands in a call's way."""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from conftest import RunningServer
from gated_encoder import PATIENCE_S
from trace_collector import TraceCollector, attributes_of, collecting

from recwire import Client, Event, Item, NotFoundError, ServerFaultError
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server import __version__
from recwire_server.encoder import Encoder, Vector
from recwire_server.setting_source import load_settings
from recwire_server.telemetry.tracing import FLUSH_S
from recwire_server.testing import HashEncoder, running_app

RECOMMENDER, CATALOG = "recwire.v1.RecommenderService", "recwire.v1.CatalogService"
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UNSET, ERROR = 0, 2  # codes of a span's status


@contextmanager
def traced_server(
    tmp_path: Path, endpoint: str, share: float = 1.0, encoder: Encoder | None = None
) -> Iterator[RunningServer]:
    """A server that has sent all its traces when the block has ended."""
    settings = load_settings(
        {"listen": "127.0.0.1:0", "data_dir": tmp_path, "trace_endpoint": endpoint, "trace_sample_share": share}
    )
    with running_app(settings, encoder or HashEncoder()) as app, Client(app.address) as client:
        yield RunningServer(app.address, client)


def call_with_trace(server: RunningServer, *, sampled: bool) -> None:
    """Call as a part of a trace that began elsewhere."""
    traceparent = f"00-{TRACE_ID}-{PARENT_ID}-{'01' if sampled else '00'}"
    request = pb.RecommendRequest(item_id="1")
    with grpc.insecure_channel(server.address) as channel:
        RecommenderServiceStub(channel).Recommend(request, metadata=[("traceparent", traceparent)], timeout=PATIENCE_S)


def test_a_call_has_a_span_with_what_took_time_within(tmp_path: Path):
    """Waiting for the model, the model, the commit, the search: each within the call's, by its parent and its time."""
    with collecting() as collector:
        with traced_server(tmp_path, collector.endpoint) as server:
            server.client.upsert_items([Item(item_id=f"{n}", title=f"film {n}") for n in range(5)])
            server.client.update_user("ada", [Event(item_id="1")])
            server.client.recommend("ada", limit=3)

        (upsert,) = collector.named(f"{CATALOG}/UpsertItems")
        (update,) = collector.named(f"{RECOMMENDER}/UpdateUser")
        (recommend,) = collector.named(f"{RECOMMENDER}/Recommend")
        assert collector.resource["service.name"] == "recwire"
        assert collector.resource["service.version"] == __version__
    assert recommend.kind == recommend.SPAN_KIND_SERVER
    assert attributes_of(recommend) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{RECOMMENDER}/Recommend",
        "rpc.response.status_code": "OK",
    }
    assert names_within(collector, upsert) == ["embed.queue", "embed.run", "store.commit"]
    assert names_within(collector, update) == ["store.commit"]
    assert names_within(collector, recommend) == ["search"]
    (search,) = collector.named("search")
    assert attributes_of(search) == {
        "recwire.search.method": "exact",
        "recwire.search.k": 3,
        "recwire.search.item_count": 5,
        "recwire.search.passing_count": 5,
        "recwire.search.excluded_count": 1,
    }


def names_within(collector: TraceCollector, parent) -> list[str]:
    children = [span for span in collector.spans if span.parent_span_id == parent.span_id]
    for child in children:
        assert child.trace_id == parent.trace_id
        slack_ns = 1_000_000  # the two clocks that a time is made of
        assert parent.start_time_unix_nano - slack_ns <= child.start_time_unix_nano
        assert child.start_time_unix_nano <= child.end_time_unix_nano <= parent.end_time_unix_nano + slack_ns
    return [child.name for child in sorted(children, key=lambda child: child.start_time_unix_nano)]


def test_a_trace_that_a_caller_began_goes_on(tmp_path: Path):
    """By W3C's traceparent: the caller decides whether it is sampled, whatever the share."""
    with collecting() as collector:
        with traced_server(tmp_path, collector.endpoint, share=0.0) as server:
            server.client.upsert_items([Item(item_id="1", title="a film")])
            call_with_trace(server, sampled=True)
            call_with_trace(server, sampled=False)
        (recommend,) = collector.named(f"{RECOMMENDER}/Recommend")
    assert recommend.trace_id.hex() == TRACE_ID
    assert recommend.parent_span_id.hex() == PARENT_ID
    assert {span.name for span in collector.spans} == {f"{RECOMMENDER}/Recommend", "search"}


class FailingEncoder(HashEncoder):
    """An encoder with a bug, whose message quotes a text."""

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Fail."""
        raise ZeroDivisionError("secret text")


def test_how_a_call_ended_is_in_its_span(tmp_path: Path):
    """The caller's mistakes are no errors of the server; of a bug there is the kind, and the incident, no content."""
    with collecting() as collector:
        with traced_server(tmp_path, collector.endpoint, encoder=FailingEncoder()) as server:
            with pytest.raises(NotFoundError):
                server.client.recommend(item_id="secret item")
            with pytest.raises(ServerFaultError) as raised:
                server.client.embed(["a"])
        (not_found,) = collector.named(f"{RECOMMENDER}/Recommend")
        (internal,) = collector.named(f"{RECOMMENDER}/Embed")
    assert not_found.status.code == UNSET
    assert attributes_of(not_found)["rpc.response.status_code"] == "NOT_FOUND"
    assert internal.status.code == ERROR
    assert internal.status.message in str(raised.value)
    assert attributes_of(internal)["error.type"] == "ZeroDivisionError"
    assert "secret" not in str(collector.spans)


def test_a_stream_has_one_span(tmp_path: Path):
    """What its messages took time for is within."""
    with collecting() as collector:
        with traced_server(tmp_path, collector.endpoint) as server:
            assert len(list(server.client.embed_stream(["a", "b"]))) == 2
        (stream,) = collector.named(f"{RECOMMENDER}/EmbedStream")
    assert names_within(collector, stream).count("embed.run") == 1


def test_a_collector_that_is_away_is_said_seldom_and_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Calls are answered, a stop takes no longer than its bound, and the log says so once."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/traces"
    with caplog.at_level(logging.WARNING), traced_server(tmp_path, endpoint) as server:
        for n in range(20):
            server.client.upsert_items([Item(item_id=f"{n}", title=f"film {n}")])
        begin_s = time.monotonic()
    assert time.monotonic() - begin_s < FLUSH_S + 2.0
    assert len([record for record in caplog.records if record.name.startswith("opentelemetry")]) == 1


def test_without_traces_opentelemetry_is_not_imported():
    """Nor need it be installed."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from recwire_server.cli import app\n"
        "from recwire_server.app import App\n"
        "from recwire_server.setting_source import load_settings\n"
        "from recwire_server.testing import HashEncoder\n"
        "App(load_settings({}), HashEncoder())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


def test_traces_without_the_extra_end_the_start(tmp_path: Path):
    """The error says what to install."""
    flags = ["serve", "--trace-endpoint", "http://127.0.0.1:1/v1/traces", "--data-dir", str(tmp_path)]
    code = f"import sys; sys.modules['opentelemetry'] = None\nfrom recwire_server.cli import app\napp({flags})"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 2
    assert "pip install 'recwire-server[traces]'" in ended.stderr
