"""What a call leaves behind that is cancelled, or whose deadline passes: nothing, as the server's own counters show."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from conftest import RunningServer, StartServer
from gated_encoder import PATIENCE_S, GatedEncoder
from metrics_page import MetricsPage, scrape

from recwire import Event, Item
from recwire.v1 import catalog_service_pb2 as catalog
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

CALLS = 10
LATER = 10**9  # a revision that does not come
UPDATE = pb.UpdateUserRequest(user_id="ada", events=[Event(text="a search"), Event(item_id="1")])
ITEMS = [Item(item_id=str(number), title=f"item {number}") for number in range(64)]
# FAILED_PRECONDITION: who waits for a revision is told, before the deadline, that it did not come.
ENDED = {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION}
# Each waits: for the model, for its user's turn or for a revision.
KINDS: dict[str, Callable[[grpc.Channel, float], Any]] = {
    "Embed": lambda channel, timeout_s: RecommenderServiceStub(channel).Embed.future(
        pb.EmbedRequest(texts=[f"text {number}" for number in range(50)]), timeout=timeout_s
    ),
    "UpdateUser": lambda channel, timeout_s: RecommenderServiceStub(channel).UpdateUser.future(
        UPDATE, timeout=timeout_s
    ),
    "Recommend": lambda channel, timeout_s: RecommenderServiceStub(channel).Recommend.future(
        pb.RecommendRequest(text="a text"), timeout=timeout_s
    ),
    "Recommend min_revision": lambda channel, timeout_s: RecommenderServiceStub(channel).Recommend.future(
        pb.RecommendRequest(user_id="ada", min_revision=LATER), timeout=timeout_s
    ),
    "EmbedStream": lambda channel, timeout_s: RecommenderServiceStub(channel).EmbedStream(
        iter([pb.EmbedStreamRequest(request=pb.EmbedRequest(texts=["a", "b"]))] * 8), timeout=timeout_s
    ),
    "UpdateUserStream": lambda channel, timeout_s: RecommenderServiceStub(channel).UpdateUserStream(
        iter([pb.UpdateUserStreamRequest(request=UPDATE)] * 8), timeout=timeout_s
    ),
    "UpsertItems": lambda channel, timeout_s: CatalogServiceStub(channel).UpsertItems.future(
        catalog.UpsertItemsRequest(items=ITEMS), timeout=timeout_s
    ),
    "ImportItems": lambda channel, timeout_s: CatalogServiceStub(channel).ImportItems(
        iter([catalog.ImportItemsRequest(items=ITEMS)] * 3), timeout=timeout_s
    ),
}


@dataclass(frozen=True)
class StuckServer:
    """A server whose only encoder thread holds a batch."""

    server: RunningServer
    encoder: GatedEncoder
    channel: grpc.Channel

    def page(self) -> MetricsPage:
        """Return its metrics."""
        assert self.server.metrics_address is not None
        return scrape(self.server.metrics_address)

    def settle(self) -> None:
        """Return once the server has seen all that came before on the connection."""
        for _ in range(10):
            AdminServiceStub(self.channel).GetServerInfo(GetServerInfoRequest())


@pytest.fixture
def stuck(start_server: StartServer) -> Iterator[StuckServer]:
    encoder = GatedEncoder()
    server = start_server(encoder, encoder_thread_count=1, metrics_listen="127.0.0.1:0")
    with grpc.insecure_channel(server.address) as channel:
        held = RecommenderServiceStub(channel).Embed.future(pb.EmbedRequest(texts=["held"]), timeout=PATIENCE_S)
        stuck = StuckServer(server, encoder, channel)
        stuck.settle()
        yield stuck
        encoder.open()
        assert len(held.result().embeddings) == 1


def work(page: MetricsPage) -> dict[str, float]:
    """Return what is under way: calls, tasks, and what waits."""
    waiting = ("encoder_queue_size", "search_queue_size", "store_queue_size", "encoder_texts_in_flight", "tasks")
    return {
        f"{name} {dict(labels)}": value
        for (name, labels), value in page.samples.items()
        if name == "recwire_active_calls" or name.removeprefix("recwire_") in waiting
        if "AdminService" not in str(dict(labels))
    }


@pytest.mark.parametrize("ending", ["cancelled", "deadline"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_nobody_waits_for_leaves_nothing_behind(kind: str, ending: str, stuck: StuckServer):
    """Neither a call, nor a task, nor anything in a queue."""
    before = work(stuck.page())
    calls = [KINDS[kind](stuck.channel, PATIENCE_S if ending == "cancelled" else 0.3) for _ in range(CALLS)]
    stuck.settle()
    if ending == "cancelled":
        assert work(stuck.page()) != before
        for call in calls:
            call.cancel()
    for call in calls:
        assert call.code() in ENDED
    for _ in range(200):
        stuck.settle()
        if (after := work(stuck.page())) == before:
            break
    assert after == before
