"""Keys with an id prefix: whose users they name, and whose items they write."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from access_files import Metadata, add_key, bearer
from contract_rpcs import CONTRACT, Rpc
from error_details import error_of
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from recwire.v1.catalog_service_pb2 import ImportItemsRequest, ListItemsRequest, UpsertItemsRequest
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.event_pb2 import Event
from recwire.v1.item_pb2 import Item
from recwire.v1.recommendation_pb2 import RecommendOptions
from recwire.v1.recommender_service_pb2 import (
    RecommendRequest,
    UpdateUserRequest,
    UpdateUserStreamRequest,
    UpdateUserStreamResponse,
)
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.access.role import REQUIRED_ROLES, Role
from recwire_server.service.named_id import TENANT_IDS

PREFIX, OWN, FOREIGN = "acme/", "acme/1", "rival/1"
NOT_ADMIN = [rpc for rpc in CONTRACT if REQUIRED_ROLES[rpc.name] is not Role.ADMIN]
TIMEOUT_S = 30.0


def descriptor(rpc: Rpc) -> Descriptor:
    """Return what the rpc's request is."""
    (message_type,) = (kind for kind in TENANT_IDS if kind.DESCRIPTOR.full_name == rpc.request_name)
    return message_type.DESCRIPTOR


def paths(message: Descriptor, *names: str) -> Iterator[str]:
    """Yield where fields of these names stand in a message, at any depth."""
    for field in message.fields:
        if field.name in names:
            yield field.name
        elif field.message_type is not None and field.message_type.file.package == "recwire.v1":
            yield from (f"{field.name}.{path}" for path in paths(field.message_type, *names))


def request(message: Descriptor, path: str, value: str) -> Message:
    """Return a request with a text at a path, and nothing else."""
    made = GetMessageClass(message)()
    place, *rest = path.split(".")
    field = message.fields_by_name[place]
    if rest:
        inner = request(field.message_type, ".".join(rest), value)
        (getattr(made, place).add() if field.is_repeated else getattr(made, place)).CopyFrom(inner)
    elif field.is_repeated:
        getattr(made, place).append(value)
    else:
        setattr(made, place, value)
    return made


@pytest.fixture
def channel(start_server, tmp_path: Path) -> Iterator[grpc.Channel]:
    """To a server that asks for keys."""
    with grpc.insecure_channel(start_server(keys_file=tmp_path / "keys.json").address) as channel:
        yield channel


@pytest.fixture
def tenant(tmp_path: Path) -> Metadata:
    """What a tenant shows, who reads and writes; it has to be there before the server."""
    return bearer(add_key(tmp_path / "keys.json", Role.WRITE, id_prefix=PREFIX))


@pytest.mark.parametrize("rpc", NOT_ADMIN, ids=lambda rpc: rpc.name)
def test_the_table_has_every_user_and_every_item_that_is_written(rpc: Rpc):
    """Each field of a request that is named user_id, and of what writes the catalogue each that is an item's id."""
    writes_items = rpc.name.startswith("recwire.v1.CatalogService") and REQUIRED_ROLES[rpc.name] is Role.WRITE
    names = ("user_id", "item_id", "item_ids") if writes_items else ("user_id", "user_ids")
    message = descriptor(rpc)
    assert sorted(TENANT_IDS[GetMessageClass(message)]) == sorted(paths(message, *names))


NAMED = [(rpc, path) for rpc in NOT_ADMIN for path in TENANT_IDS[GetMessageClass(descriptor(rpc))]]


@pytest.mark.parametrize(("rpc", "path"), NAMED, ids=lambda value: getattr(value, "name", value))
def test_an_id_of_somebody_else_is_refused(rpc: Rpc, path: str, tenant: Metadata, channel: grpc.Channel):
    """PERMISSION_DENIED with the field, whether there is such a one or not."""
    sent = request(descriptor(rpc), path, FOREIGN).SerializeToString()
    field = path.replace("items", "items[0]").replace("item_ids", "item_ids[0]")

    if rpc.name.endswith("UpdateUserStream"):
        error = UpdateUserStreamResponse.FromString(rpc.call(channel, tenant, sent)).error
        assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED.value[0], "ID_OUTSIDE_PREFIX")
        assert list(error.fields) == [field]
        return
    with pytest.raises(grpc.RpcError) as raised:
        rpc.call(channel, tenant, sent)
    error = error_of(raised.value)
    assert error.code is grpc.StatusCode.PERMISSION_DENIED
    assert error.details["ErrorInfo"].reason == "ID_OUTSIDE_PREFIX"
    assert error.fields == [field]
    assert FOREIGN not in error.message


@pytest.mark.parametrize(("rpc", "path"), NAMED, ids=lambda value: getattr(value, "name", value))
def test_an_id_of_ones_own_is_served(rpc: Rpc, path: str, tenant: Metadata, channel: grpc.Channel):
    """As is one that is missing, of which the rpc itself says so."""
    for value in (OWN, ""):
        sent = request(descriptor(rpc), path, value).SerializeToString()
        assert rpc.outcome(channel, tenant, sent) == "admitted"


def test_one_message_of_a_stream_is_refused_alone(tenant: Metadata, channel: grpc.Channel):
    """The others are acknowledged."""
    messages = [
        UpdateUserStreamRequest(request=UpdateUserRequest(user_id=user_id, events=[Event(text="a")]))
        for user_id in (OWN, FOREIGN, OWN)
    ]
    stub = RecommenderServiceStub(channel)
    answers = list(stub.UpdateUserStream(iter(messages), metadata=tenant, timeout=TIMEOUT_S))
    assert [answer.error.reason for answer in answers] == ["", "ID_OUTSIDE_PREFIX", ""]
    assert [answer.response.revision > 0 for answer in answers] == [True, False, True]


def test_an_import_ends_at_the_message_with_somebody_elses_item(tenant: Metadata, channel: grpc.Channel):
    """None of that message is written; what was acknowledged before is."""
    messages = [ImportItemsRequest(items=[Item(item_id=item_id, title="A lamp")]) for item_id in (OWN, FOREIGN)]
    stub = CatalogServiceStub(channel)
    answers = stub.ImportItems(iter(messages), metadata=tenant, timeout=TIMEOUT_S)

    assert next(answers).imported_count == 1
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)

    assert error_of(raised.value).fields == ["items[0].item_id"]
    listed = stub.ListItems(ListItemsRequest(), metadata=tenant, timeout=TIMEOUT_S).items
    assert [item.item_id for item in listed] == [OWN]


def test_the_catalogue_is_read_by_all(tenant: Metadata, tmp_path: Path, start_server):
    """A tenant's users are recommended what others have put there, may name it in events, and see it."""
    everybody = bearer(add_key(tmp_path / "keys.json", Role.WRITE))
    with grpc.insecure_channel(start_server(keys_file=tmp_path / "keys.json").address) as channel:
        catalog, recommender = CatalogServiceStub(channel), RecommenderServiceStub(channel)
        items = [Item(item_id=f"rival/{n}", title=f"A lamp {n}") for n in range(2)]
        catalog.UpsertItems(UpsertItemsRequest(items=items), metadata=everybody, timeout=TIMEOUT_S)

        update = UpdateUserRequest(user_id=OWN, events=[Event(item_id="rival/0")], recommend=RecommendOptions())
        answer = recommender.UpdateUser(update, metadata=tenant, timeout=TIMEOUT_S)
        similar = recommender.Recommend(RecommendRequest(item_id="rival/0"), metadata=tenant, timeout=TIMEOUT_S)

    assert [entry.item_id for entry in answer.recommendation.recommendations] == ["rival/1"]
    assert [entry.item_id for entry in similar.recommendations] == ["rival/1"]
