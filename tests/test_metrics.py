"""What a server tells Prometheus: each call once, by how it ended; what it did, and what it holds; under any load."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import pytest
from conftest import RunningServer, StartServer
from gated_encoder import PATIENCE_S, GatedEncoder
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from metrics_page import MetricsPage, scrape

from recwire import Event, InvalidArgumentError, Item, NotFoundError, ServerFaultError
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.app import App
from recwire_server.encoder import Purpose, TokenizedText, Vector
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_app

RECOMMENDER, CATALOG = "recwire.v1.RecommenderService", "recwire.v1.CatalogService"
WITH_METRICS = {"metrics_listen": "127.0.0.1:0"}


@pytest.fixture
def server(start_server: StartServer) -> RunningServer:
    """A server with metrics and five items."""
    server = start_server(**WITH_METRICS)
    server.client.upsert_items([Item(item_id=f"secret-{n}", title=f"film {n}") for n in range(5)])
    return server


def page(server: RunningServer) -> MetricsPage:
    assert server.metrics_address is not None
    return scrape(server.metrics_address)


def page_when(server: RunningServer, holds: Callable[[MetricsPage], bool]) -> MetricsPage:
    """Return the metrics once they are so: a caller may have its answer before the server has counted the call."""
    for _ in range(100):
        now = page(server)
        if holds(now):
            return now
        server.client.get_server_info()
    raise AssertionError(now.text)


def test_each_call_is_counted_once_by_how_it_ended(server):
    """With its duration; a call that is refused too, and under its code alone."""
    server.client.recommend("ada")
    with pytest.raises(NotFoundError):
        server.client.recommend(item_id="unknown")
    with pytest.raises(InvalidArgumentError):
        server.client.recommend("")

    now = page_when(server, lambda now: now.calls(f"{RECOMMENDER}/Recommend", "INVALID_ARGUMENT") > 0)

    assert [now.calls(f"{RECOMMENDER}/Recommend", code) for code in ("OK", "NOT_FOUND", "INVALID_ARGUMENT")] == [1] * 3
    assert now.calls(f"{RECOMMENDER}/Recommend", "INTERNAL") == 0
    assert now.calls(f"{CATALOG}/UpsertItems", "OK") == 1
    assert now.value("recwire_refusals_total", reason="ITEM_NOT_FOUND") == 1
    assert now.value("recwire_incidents_total") == 0


def test_bytes_that_are_no_request_are_counted(server):
    """They are refused before the rpc is reached, and are calls all the same."""
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(f"/{RECOMMENDER}/Embed")
        with pytest.raises(grpc.RpcError):
            call(b"\xff\xff", timeout=PATIENCE_S)
    now = page_when(server, lambda now: now.calls(f"{RECOMMENDER}/Embed", "INVALID_ARGUMENT") > 0)
    assert now.calls(f"{RECOMMENDER}/Embed", "INVALID_ARGUMENT") == 1


def test_a_stream_is_one_call_and_its_refused_messages_are_refusals(server):
    """The call ends well, whatever became of its messages."""
    requests = [pb.EmbedRequest(texts=["a"]), pb.EmbedRequest(), pb.EmbedRequest(texts=["b"])]
    with grpc.insecure_channel(server.address) as channel:
        stream = RecommenderServiceStub(channel).EmbedStream(
            iter([pb.EmbedStreamRequest(request=request) for request in requests]), timeout=PATIENCE_S
        )
        outcomes = [answer.WhichOneof("outcome") for answer in stream]
    assert outcomes == ["response", "error", "response"]
    now = page_when(server, lambda now: now.calls(f"{RECOMMENDER}/EmbedStream", "OK") > 0)
    assert now.calls(f"{RECOMMENDER}/EmbedStream", "OK") == 1
    assert now.value("recwire_refusals_total", reason="INVALID_FIELD") == 1


def test_standard_services_are_counted_and_work(server):
    """Health and reflection, which have no part of the boundary around them but this."""
    with grpc.insecure_channel(server.address) as channel:
        health = HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status == 1
        with pytest.raises(grpc.RpcError):
            health.Check(health_pb2.HealthCheckRequest(service="none"), timeout=PATIENCE_S)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert next(watch).status == 1
        assert page(server).value("recwire_active_calls", rpc_method="grpc.health.v1.Health/Watch") == 1
        watch.cancel()
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        listed = list(
            reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked), timeout=PATIENCE_S)
        )
        assert len(listed) == 1
    now = page_when(server, lambda now: now.calls("grpc.health.v1.Health/Watch", "CANCELLED") > 0)
    assert now.calls("grpc.health.v1.Health/Check", "OK") == now.calls("grpc.health.v1.Health/Check", "NOT_FOUND") == 1
    assert now.calls("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "OK") == 1
    assert now.value("recwire_active_calls", rpc_method="grpc.health.v1.Health/Watch") == 0


def test_calls_that_callers_leave_are_told_apart(start_server):
    """One that ran out of time, and one that was cancelled."""
    encoder = GatedEncoder()
    server = start_server(encoder, **WITH_METRICS)
    with grpc.insecure_channel(server.address) as channel:
        stub = RecommenderServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.Embed(pb.EmbedRequest(texts=["a"]), timeout=0.2)
        cancelled = stub.Embed.future(pb.EmbedRequest(texts=["b"]), timeout=PATIENCE_S)
        page_when(server, lambda now: now.value("recwire_active_calls", rpc_method=f"{RECOMMENDER}/Embed") == 1)
        cancelled.cancel()
        now = page_when(server, lambda now: now.calls(f"{RECOMMENDER}/Embed", "CANCELLED") > 0)
    encoder.open()
    assert now.calls(f"{RECOMMENDER}/Embed", "DEADLINE_EXCEEDED") == now.calls(f"{RECOMMENDER}/Embed", "CANCELLED") == 1


def test_what_the_server_did_is_counted(server):
    """Events, texts, batches, commits, searches and recommendations, by kind."""
    before = page(server)
    server.client.update_user("ada", [Event(item_id="secret-1", event_id="1"), Event(text="film 2")])
    server.client.update_user("ada", [Event(item_id="secret-1", event_id="1")])
    server.client.embed(["film 2"])
    server.client.recommend("ada", limit=3)
    server.client.recommend("bob", limit=50)

    now = page(server)

    def grown(name: str, **labels: str) -> float:
        return now.value(name, **labels) - before.value(name, **labels)

    assert (grown("recwire_events_total", outcome="applied"), grown("recwire_events_total", outcome="duplicate")) == (
        2,
        1,
    )
    assert (grown("recwire_embedding_cache_hits_total"), grown("recwire_embedding_cache_misses_total")) == (1, 1)
    assert grown("recwire_encoder_run_seconds_count") == grown("recwire_encoder_batch_sequences_sum") == 1
    assert grown("recwire_encoder_queue_wait_seconds_count", **{"class": "interactive"}) == 1
    assert grown("recwire_encoder_tokens_total", kind="text") == 4
    assert grown("recwire_store_group_writes_sum") == 2
    assert grown("recwire_search_seconds_count", method="exact") == 1
    assert grown("recwire_recommendations_total", strategy="personalized") == 3
    assert grown("recwire_recommendations_total", strategy="popular") == 1
    assert grown("recwire_recommendations_total", strategy="recent") == 4
    assert grown("recwire_short_answers_total", shortfall="catalog_exhausted") == 1


def test_what_the_server_holds_is_read(server):
    """The same as GetServerInfo says, and what the process takes."""
    server.client.update_user("ada", [Event(item_id="secret-1")])
    server.client.recommend("ada")
    server.client.delete_items(["secret-0"])
    info, now = server.client.get_server_info(), page(server)
    assert now.value("recwire_ready") == 1
    assert now.value("recwire_index_items") == info.item_count == 4
    assert now.value("recwire_index_removed_rows") == info.index.removed_row_count == 1
    assert now.value("recwire_index_generation") == info.index_generation
    assert now.value("recwire_users_cached") == 1
    build = {"version": info.server_version, "model": info.model.name, "model_version": info.model.version}
    assert now.value("recwire_build_info", **build) == 1
    for name in ("process_resident_memory_bytes", "process_open_fds", "recwire_data_free_bytes", "recwire_tasks"):
        assert now.value(name) > 0, name


def test_nothing_in_it_names_users_items_or_texts(server):
    """Nor can what callers send make new series."""
    server.client.update_user("secret-user", [Event(item_id="secret-1"), Event(text="secret-text")])
    server.client.recommend("secret-user")
    with pytest.raises(NotFoundError):
        server.client.recommend(item_id="secret-item")
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/secret.Service/Rpc")(b"", timeout=PATIENCE_S)
    assert "secret" not in page(server).text


def test_writes_that_are_not_stored_are_counted(server, tmp_path: Path):
    """Here, because the data directory has been moved away."""
    (tmp_path / "data").rename(tmp_path / "moved")
    request = pb.UpdateUserRequest(user_id="ada", events=[Event(item_id="secret-1")])
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as raised:
        RecommenderServiceStub(channel).UpdateUser(request, timeout=PATIENCE_S)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    now = page(server)
    assert now.value("recwire_store_failed_writes_total") == 1
    assert now.value("recwire_refusals_total", reason="STORE_WRITE_FAILED") == 1
    assert now.value("recwire_events_total", outcome="applied") == 0


class FailingEncoder(HashEncoder):
    """An encoder with a bug."""

    def run(self, sequences: Sequence[Sequence[int]]) -> Vector:
        """Fail."""
        raise ZeroDivisionError("a bug")


def test_a_bug_is_an_incident(start_server):
    """Once in the calls, the refusals and the incidents."""
    server = start_server(FailingEncoder(), **WITH_METRICS)
    with pytest.raises(ServerFaultError):
        server.client.embed(["a"])
    now = page_when(server, lambda now: now.calls(f"{RECOMMENDER}/Embed", "INTERNAL") > 0)
    assert now.calls(f"{RECOMMENDER}/Embed", "INTERNAL") == now.value("recwire_incidents_total") == 1
    assert now.value("recwire_refusals_total", reason="INTERNAL") == 1


class BlockingEncoder(HashEncoder):
    """An encoder that holds up the event loop, which tokenizes short texts, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.release = threading.Event(), threading.Event()

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        """Wait, then do it."""
        self.blocks.set()
        assert self.release.wait(PATIENCE_S)
        return super().tokenize(texts, purpose)


def test_a_blocked_event_loop_is_seen_while_it_is_blocked(start_server):
    """The endpoint answers all the same, says how long the loop has been late, and afterwards how late it was."""
    encoder = BlockingEncoder()
    server = start_server(encoder, **WITH_METRICS)
    with grpc.insecure_channel(server.address) as channel:
        call = RecommenderServiceStub(channel).Embed.future(pb.EmbedRequest(texts=["a"]), timeout=PATIENCE_S)
        assert encoder.blocks.wait(PATIENCE_S)
        during = page(server)
        while during.value("recwire_event_loop_stall_seconds") < 0.25:  # it is late by the time that passes
            during = page(server)
        assert during.value("recwire_active_calls", rpc_method=f"{RECOMMENDER}/Embed") == 1
        encoder.release.set()
        call.result()
    after = page_when(
        server,
        lambda now: (
            now.value("recwire_event_loop_lag_seconds_bucket", le="+Inf")
            > now.value("recwire_event_loop_lag_seconds_bucket", le="0.25")
        ),
    )
    assert after.value("recwire_event_loop_stall_seconds") < 0.25


async def test_a_draining_server_says_so(tmp_path: Path):
    """The endpoint stays until the last call has ended."""
    encoder = GatedEncoder()
    app = App(load_settings({"listen": "127.0.0.1:0", "data_dir": tmp_path, **WITH_METRICS}), encoder)
    await app.__aenter__()
    async with grpc.aio.insecure_channel(app.address) as channel:
        call = RecommenderServiceStub(channel).Embed(pb.EmbedRequest(texts=["a"]))
        await encoder.reached(1)
        stopping = asyncio.create_task(app.__aexit__(None, None, None))
        await asyncio.wait([stopping], timeout=0)
        now = await asyncio.to_thread(scrape, app.metrics_address)
        encoder.open()
        await call
        await stopping
    assert now.value("recwire_ready") == 0
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(scrape, app.metrics_address)


def test_metrics_are_served_only_where_asked_for(hash_server):
    """By default nowhere."""
    assert hash_server.metrics_address is None


def test_a_taken_address_ends_the_start(tmp_path: Path):
    """The error names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = load_settings({"listen": "127.0.0.1:0", "data_dir": tmp_path, "metrics_listen": address})
        with pytest.raises(OSError, match="metrics_listen"), running_app(settings, HashEncoder()):
            pass
