"""What a server does with more texts than its encoder can take: it refuses at once, and drops what nobody awaits."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from conftest import StartServer
from error_details import error_of
from gated_encoder import PATIENCE_S, GatedEncoder

from recwire import Event, EventType, Item
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.catalog_service_pb2 import UpsertItemsRequest
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire.v1.user_service_pb2 import GetUserRequest
from recwire.v1.user_service_pb2_grpc import UserServiceStub


@dataclass(frozen=True)
class BusyServer:
    """A server whose only encoder thread holds a batch, and whose queue takes two texts more."""

    encoder: GatedEncoder
    channel: grpc.Channel
    running: grpc.Future

    def call(self, rpc: str, timeout_s: float = PATIENCE_S) -> grpc.Future:
        """Return one call more, which needs the encoder for two texts."""
        search = Event(text="search", type=EventType.EVENT_TYPE_SEARCH)
        request = {
            "Embed": pb.EmbedRequest(texts=["a", "b"]),
            "UpdateUser": pb.UpdateUserRequest(user_id="ada", events=[Event(item_id="1"), search, Event(text="c")]),
            "Recommend": pb.RecommendRequest(session=pb.Session(events=[search, Event(text="d")])),
        }[rpc]
        return getattr(RecommenderServiceStub(self.channel), rpc).future(request, timeout=timeout_s)

    def settle(self) -> None:
        """Return once the server has seen all that came before on the connection."""
        for _ in range(10):
            AdminServiceStub(self.channel).GetServerInfo(GetServerInfoRequest())


@pytest.fixture
def busy(start_server: StartServer) -> Iterator[BusyServer]:
    encoder = GatedEncoder()
    server = start_server(encoder, encoder_thread_count=1, max_queue_size=2)
    with grpc.insecure_channel(server.address) as channel:
        running = RecommenderServiceStub(channel).Embed.future(pb.EmbedRequest(texts=["running"]))
        asyncio.run(encoder.reached(1))
        yield BusyServer(encoder, channel, running)
        encoder.open()


def user_revision(busy: BusyServer) -> int | grpc.StatusCode:
    try:
        return UserServiceStub(busy.channel).GetUser(GetUserRequest(user_id="ada")).revision
    except grpc.RpcError as error:
        return error.code()


def test_a_full_queue_refuses_with_a_time_to_come_back(busy: BusyServer):
    """RESOURCE_EXHAUSTED with RetryInfo, whichever call it is; of a refused UpdateUser nothing is recorded."""
    waiting = RecommenderServiceStub(busy.channel).Embed.future(pb.EmbedRequest(texts=["one", "two"]))
    busy.settle()
    for rpc in ("Embed", "UpdateUser", "Recommend"):
        call = busy.call(rpc)
        with pytest.raises(grpc.RpcError) as raised:
            call.result()
        error = error_of(raised.value)
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        delay = error.details["RetryInfo"].retry_delay
        assert 0 < delay.seconds + delay.nanos / 1e9 < PATIENCE_S
    assert user_revision(busy) is grpc.StatusCode.NOT_FOUND
    busy.encoder.open()
    assert len(waiting.result().embeddings) == 2


def test_an_import_waits_where_a_call_is_refused(busy: BusyServer):
    """Writes to the catalogue wait for room, and are done in the end."""
    waiting = RecommenderServiceStub(busy.channel).Embed.future(pb.EmbedRequest(texts=["one", "two"]))
    items = [Item(item_id=str(number), title=f"item {number}") for number in range(256)]
    upsert = CatalogServiceStub(busy.channel).UpsertItems.future(UpsertItemsRequest(items=items), timeout=PATIENCE_S)
    busy.settle()
    busy.encoder.open()
    assert upsert.result().upserted_count == 256
    assert len(waiting.result().embeddings) == 2


@pytest.mark.parametrize("rpc", ["Embed", "UpdateUser", "Recommend"])
@pytest.mark.parametrize("timeout_s", [PATIENCE_S, 0.3], ids=["cancelled", "deadline"])
def test_what_nobody_waits_for_never_reaches_the_model(rpc, timeout_s, busy: BusyServer):
    """The texts of a call that is cancelled, or whose deadline passes, are dropped; of an UpdateUser nothing is
    recorded."""
    call = busy.call(rpc, timeout_s)
    busy.settle()
    if timeout_s == PATIENCE_S:
        call.cancel()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        call.result()
    busy.settle()
    busy.encoder.open()
    RecommenderServiceStub(busy.channel).Embed(pb.EmbedRequest(texts=["after"]))
    assert busy.encoder.batches == [busy.encoder.texts("running"), busy.encoder.texts("after")]
    assert user_revision(busy) is grpc.StatusCode.NOT_FOUND
