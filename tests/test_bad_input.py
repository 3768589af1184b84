"""Bad input gets the code and the details of the contract's table, names every field at fault, and stores nothing."""

import grpc
import numpy as np
import pytest
from conftest import RunningServer
from error_details import ErrorDetails, error_of
from google.protobuf.timestamp_pb2 import Timestamp

from recwire import (
    AttributeValue,
    Boost,
    Condition,
    Event,
    Filter,
    Item,
    RecommendOptions,
    StringSet,
    to_bytes,
)
from recwire.v1 import catalog_service_pb2 as catalog
from recwire.v1 import recommender_service_pb2 as recommender
from recwire.v1 import user_service_pb2 as user
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire.v1.user_service_pb2_grpc import UserServiceStub

LONG_ID = "i" * 257
LONG_TEXT = "t" * 40 * 1024
DIM = 32  # the hash encoder's
INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


def vector(*values: float, dim: int = DIM) -> bytes:
    """Return a vector that begins with these values, and goes on with ones."""
    return to_bytes(np.array([*values, *np.ones(dim - len(values))], np.float32))


def update(*events: Event, user_id: str = "ada", **fields: object) -> recommender.UpdateUserRequest:
    return recommender.UpdateUserRequest(user_id=user_id, events=events, **fields)


def embed(*texts: str, **fields: object) -> recommender.EmbedRequest:
    return recommender.EmbedRequest(texts=texts, **fields)


def recommend(**fields: object) -> recommender.RecommendRequest:
    return recommender.RecommendRequest(**fields)


def asking(user_id: str = "ada", **options: object) -> recommender.RecommendRequest:
    return recommender.RecommendRequest(user_id=user_id, options=RecommendOptions(**options))


def upsert(*items: Item) -> catalog.UpsertItemsRequest:
    return catalog.UpsertItemsRequest(items=items)


def titled(**fields: object) -> Item:
    return Item(**{"item_id": "1", "title": "A lamp", **fields})


ROWS = {
    "no text": (embed(), ["texts"]),
    "257 texts": (embed(*["a"] * 257), ["texts"]),
    "a blank text": (embed("a", " "), ["texts[1]"]),
    "a text of 40 KiB": (embed("a", LONG_TEXT), ["texts[1]"]),
    "an unknown purpose": (embed("a", purpose=9), ["purpose"]),
    "an unknown long_text": (embed("a", long_text=9), ["long_text"]),
    "an empty user_id": (update(Event(item_id="1"), user_id=""), ["user_id"]),
    "an over-long user_id": (update(Event(item_id="1"), user_id=LONG_ID), ["user_id"]),
    "no event": (update(), ["events"]),
    "257 events": (update(*[Event(item_id="1")] * 257), ["events"]),
    "an event without a subject": (update(Event(event_id="1")), ["events[0]"]),
    "an over-long event_id": (update(Event(event_id=LONG_ID, item_id="1")), ["events[0].event_id"]),
    "an empty item_id of an event": (update(Event(item_id="")), ["events[0].item_id"]),
    "an over-long item_id of an event": (update(Event(item_id=LONG_ID)), ["events[0].item_id"]),
    "an empty text of an event": (update(Event(text="")), ["events[0].text"]),
    "an event's text of 40 KiB": (update(Event(text=LONG_TEXT)), ["events[0].text"]),
    "an unknown type": (update(Event(item_id="1", type=99)), ["events[0].type"]),
    "NaN as a weight": (update(Event(item_id="1", weight=float("nan"))), ["events[0].weight"]),
    "a weight past its limit": (update(Event(item_id="1", weight=-2e6)), ["events[0].weight"]),
    "a time past its limit": (
        update(Event(item_id="1", event_time=Timestamp(seconds=2**40))),
        ["events[0].event_time"],
    ),
    "nanos past a second": (update(Event(item_id="1", event_time=Timestamp(nanos=10**9))), ["events[0].event_time"]),
    "an over-long recommendation_id": (
        update(Event(item_id="1", recommendation_id=LONG_ID)),
        ["events[0].recommendation_id"],
    ),
    "NaN in a vector": (update(Event(vector=vector(float("nan")))), ["events[0].vector"]),
    "an infinite value in a vector": (update(Event(vector=vector(float("inf")))), ["events[0].vector"]),
    "a vector of zeros": (update(Event(vector=bytes(4 * DIM))), ["events[0].vector"]),
    "an empty vector": (update(Event(vector=b"")), ["events[0].vector"]),
    "half a number in a vector": (update(Event(vector=vector()[:-1])), ["events[0].vector"]),
    "an immense vector": (update(Event(vector=vector(3e38))), ["events[0].vector"]),
    "options of an update": (
        update(Event(item_id="1"), recommend=RecommendOptions(limit=1001)),
        ["recommend.limit"],
    ),
    "no target": (recommend(), ["target"]),
    "an empty target user_id": (recommend(user_id=""), ["user_id"]),
    "an over-long target item_id": (recommend(item_id=LONG_ID), ["item_id"]),
    "an empty target text": (recommend(text=""), ["text"]),
    "a target text of 40 KiB": (recommend(text=LONG_TEXT), ["text"]),
    "NaN in the target vector": (recommend(vector=vector(float("nan"))), ["vector"]),
    "a bad event of a session": (
        recommend(session=recommender.Session(events=[Event(item_id="1"), Event(item_id="2", type=99)])),
        ["session.events[1].type"],
    ),
    "257 events of a session": (
        recommend(session=recommender.Session(events=[Event(item_id="1")] * 257)),
        ["session.events"],
    ),
    "a limit of 1,001": (asking(limit=1001), ["options.limit"]),
    "a diversity past 1": (asking(diversity=1.5), ["options.diversity"]),
    "NaN as a diversity": (asking(diversity=float("nan")), ["options.diversity"]),
    "an unknown seen policy": (asking(seen=9), ["options.seen"]),
    "NaN as min_score": (asking(min_score=float("nan")), ["options.min_score"]),
    "an empty id to exclude": (asking(exclude_item_ids=["1", ""]), ["options.exclude_item_ids[1]"]),
    "1,001 ids to exclude": (asking(exclude_item_ids=["1"] * 1001), ["options.exclude_item_ids"]),
    "an over-long id to ignore": (asking(ignore_event_ids=[LONG_ID]), ["options.ignore_event_ids[0]"]),
    "rotation for no user": (
        recommend(item_id="1", options=RecommendOptions(rotation={"seconds": 60})),
        ["options.rotation"],
    ),
    "a negative rotation": (asking(rotation={"seconds": -1}), ["options.rotation"]),
    "a condition without a test": (
        asking(filter=Filter(must=[Condition(attribute="a")])),
        ["options.filter.must[0]"],
    ),
    "a boost without a condition": (
        asking(boosts=[Boost(add=1.0)]),
        ["options.boosts[0].when"],
    ),
    "an immense boost": (
        asking(boosts=[Boost(when=Condition(attribute="a", equals=True), add=1e7)]),
        ["options.boosts[0].add"],
    ),
    "an empty id to rank": (asking(item_ids=[""]), ["options.item_ids[0]"]),
    "a negative min_revision": (recommend(user_id="ada", min_revision=-1), ["min_revision"]),
    "min_revision of no user": (recommend(item_id="1", min_revision=1), ["min_revision"]),
    "no item": (upsert(), ["items"]),
    "257 items": (upsert(*[titled()] * 257), ["items"]),
    "an empty item_id": (upsert(titled(item_id="")), ["items[0].item_id"]),
    "an over-long item_id": (upsert(titled(), titled(item_id=LONG_ID)), ["items[1].item_id"]),
    "an item of nothing": (upsert(Item(item_id="1")), ["items[0]"]),
    "a title of 40 KiB": (upsert(titled(title=LONG_TEXT)), ["items[0].title"]),
    "a blank piece": (upsert(titled(texts=["a", " "])), ["items[0].texts[1]"]),
    "65 pieces": (upsert(titled(texts=["a"] * 65)), ["items[0].texts"]),
    "a vector of zeros for an item": (upsert(titled(vector=bytes(4 * DIM))), ["items[0].vector"]),
    "65 attributes": (
        upsert(titled(attributes={f"a{n}": AttributeValue(flag=True) for n in range(65)})),
        ["items[0].attributes"],
    ),
    "an attribute without a value": (upsert(titled(attributes={"a": AttributeValue()})), ['items[0].attributes["a"]']),
    "NaN as an attribute": (
        upsert(titled(attributes={"a": AttributeValue(number=float("nan"))})),
        ['items[0].attributes["a"]'],
    ),
    "a label of 40 KiB": (
        upsert(titled(attributes={"a": AttributeValue(labels=StringSet(values=[LONG_TEXT]))})),
        ['items[0].attributes["a"]'],
    ),
    "a publish time past its limit": (
        upsert(titled(publish_time=Timestamp(seconds=-(2**40)))),
        ["items[0].publish_time"],
    ),
    "an empty id to delete": (catalog.DeleteItemsRequest(item_ids=["1", ""]), ["item_ids[1]"]),
    "257 ids to delete": (catalog.DeleteItemsRequest(item_ids=["1"] * 257), ["item_ids"]),
    "an empty id to get": (catalog.GetItemRequest(), ["item_id"]),
    "a negative page size": (catalog.ListItemsRequest(page_size=-1), ["page_size"]),
    "a page token of no page": (catalog.ListItemsRequest(page_token="!"), ["page_token"]),
    "an empty user to get": (user.GetUserRequest(), ["user_id"]),
    "an over-long user to delete": (user.DeleteUserRequest(user_id=LONG_ID), ["user_id"]),
    "no event to forget": (user.ForgetEventsRequest(user_id="ada"), ["event_ids"]),
    "257 events to forget": (user.ForgetEventsRequest(user_id="ada", event_ids=["1"] * 257), ["event_ids"]),
    "an empty id to forget": (user.ForgetEventsRequest(user_id="ada", event_ids=[""]), ["event_ids[0]"]),
    "a page token of no page of events": (user.ListEventsRequest(user_id="ada", page_token="!"), ["page_token"]),
    "an event's text of markup alone": (update(Event(text="<br>")), ["events[0].text"]),
    "a piece of markup alone": (upsert(titled(texts=["a", "<p></p>"])), ["items[0].texts[1]"]),
    "several faults at once": (
        update(Event(item_id=""), Event(item_id="1", type=99, weight=float("inf")), user_id=""),
        ["user_id", "events[0].item_id", "events[1].type", "events[1].weight"],
    ),
}
DIMENSION_ROWS = {
    "an event": (update(Event(vector=vector(dim=5))), "events[0].vector"),
    "a target": (recommend(vector=vector(dim=33)), "vector"),
    "an item": (upsert(titled(vector=vector(dim=384))), "items[0].vector"),
}


def call(server: RunningServer, request: object) -> object:
    """Send a request to the rpc that takes it."""
    with grpc.insecure_channel(server.address) as channel:
        for stub in (RecommenderServiceStub(channel), CatalogServiceStub(channel), UserServiceStub(channel)):
            rpc = getattr(stub, type(request).__name__.removesuffix("Request"), None)
            if rpc is not None:
                return rpc(request, timeout=10)
    raise AssertionError(f"no rpc takes {type(request).__name__}")


def refusal(server: RunningServer, request: object) -> ErrorDetails:
    """Send a request that is refused; return the error. Nothing of it is stored, and the server goes on answering."""
    with pytest.raises(grpc.RpcError) as raised:
        call(server, request)
    info = server.client.get_server_info()
    assert (info.item_count, info.user_count) == (0, 0)
    return error_of(raised.value)


@pytest.mark.parametrize("row", ROWS)
def test_a_field_that_breaks_its_bound_is_named(row, hash_server):
    """INVALID_ARGUMENT with a BadRequest that names every field at fault."""
    request, fields = ROWS[row]
    error = refusal(hash_server, request)
    assert error.code is INVALID
    assert error.fields == fields


@pytest.mark.parametrize("row", DIMENSION_ROWS)
def test_a_vector_of_another_dimension_fails_a_precondition(row, hash_server):
    """FAILED_PRECONDITION with a PreconditionFailure on the field; both dimensions are in the message."""
    request, field = DIMENSION_ROWS[row]
    error = refusal(hash_server, request)
    (violation,) = error.details["PreconditionFailure"].violations
    assert error.code is PRECONDITION
    assert (violation.type, violation.subject) == ("WRONG_DIMENSION", field)
    assert "32" in error.message


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (recommend(item_id="nope"), "item"),
        (catalog.GetItemRequest(item_id="nope"), "item"),
        (user.GetUserRequest(user_id="nope"), "user"),
        (user.DeleteUserRequest(user_id="nope"), "user"),
        (user.ListEventsRequest(user_id="nope"), "user"),
        (user.ForgetEventsRequest(user_id="nope", event_ids=["1"]), "user"),
    ],
    ids=["target item", "GetItem", "GetUser", "DeleteUser", "ListEvents", "ForgetEvents"],
)
def test_an_unknown_item_or_user_is_not_found(request_, kind, hash_server):
    """NOT_FOUND with a ResourceInfo that names it."""
    error = refusal(hash_server, request_)
    resource = error.details["ResourceInfo"]
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert (resource.resource_type, resource.resource_name) == (kind, "nope")


def test_recommending_for_an_unknown_user_is_no_error(hash_server):
    """Someone nobody knows gets a cold start."""
    assert call(hash_server, recommend(user_id="nobody")).revision == 0


def test_an_id_of_256_bytes_in_any_script_is_taken(hash_server):
    """The bound counts bytes of UTF-8, and includes its end."""
    assert call(hash_server, update(Event(item_id="é" * 128), user_id="推" * 85)).applied_count == 1


def test_a_revision_of_another_deployment_fails_a_precondition(hash_server):
    """FAILED_PRECONDITION within the caller's deadline."""
    with grpc.insecure_channel(hash_server.address) as channel, pytest.raises(grpc.RpcError) as raised:
        RecommenderServiceStub(channel).Recommend(recommend(user_id="ada", min_revision=10**12), timeout=0.5)
    error = error_of(raised.value)
    assert error.code is PRECONDITION
    assert error.details["PreconditionFailure"].violations[0].subject == "min_revision"


def test_errors_in_any_script_keep_their_code(hash_server):
    """gRPC writes each byte beyond ASCII as three: long names must not push the status out of the trailers."""
    attributes = {"文" * 80 + f"{n:03}": AttributeValue() for n in range(64)}
    for _ in range(20):  # what is too large is lost at random
        error = refusal(hash_server, upsert(titled(attributes=attributes)))
        assert error.code is INVALID


def test_256_bad_events_get_an_answer_that_arrives(hash_server):
    """Of very many violations the first are named, and all counted: the details must fit into HTTP/2's trailers."""
    error = refusal(hash_server, update(*[Event(item_id="", event_id=LONG_ID, type=99)] * 256))
    assert error.code is INVALID
    assert error.message.startswith("768 violations, of which the first 16 are named: ")
    assert len(error.fields) == 16
    assert error.fields[:3] == ["events[0].event_id", "events[0].item_id", "events[0].type"]
