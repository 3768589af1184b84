"""What the Python client raises, and what it tries again, over real sockets."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, QuotaFailure, RetryInfo
from grpc import StatusCode
from scripted_server import Caller, Failure, ScriptedServer

import recwire
from recwire import Event, FieldViolation, Item
from recwire.v1.recommender_service_pb2 import Embedding, EmbedResponse, EmbedStreamResponse
from recwire.v1.stream_pb2 import StreamError

UNAVAILABLE = Failure(StatusCode.UNAVAILABLE, "draining")
RETRIED: list[tuple[str, tuple[Any, ...], str]] = [
    ("embed", (["a"],), "Embed"),
    ("update_user", ("ada", [Event(item_id="42")]), "UpdateUser"),
    ("recommend", ("ada",), "Recommend"),
    ("upsert_items", ([Item(item_id="1")],), "UpsertItems"),
    ("delete_items", (["1"],), "DeleteItems"),
    ("get_item", ("1",), "GetItem"),
    ("list_items", (), "ListItems"),
    ("get_user", ("ada",), "GetUser"),
    ("delete_user", ("ada",), "DeleteUser"),
    ("get_server_info", (), "GetServerInfo"),
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=[recwire.Client, recwire.AsyncClient])
def call(request: pytest.FixtureRequest, server: ScriptedServer) -> Iterator[Caller]:
    with Caller(request.param, server.address) as call:
        yield call


@pytest.mark.parametrize(
    ("code", "family", "error_class"),
    [
        (StatusCode.INVALID_ARGUMENT, recwire.FixRequestError, recwire.InvalidArgumentError),
        (StatusCode.NOT_FOUND, recwire.FixRequestError, recwire.NotFoundError),
        (StatusCode.FAILED_PRECONDITION, recwire.FixRequestError, recwire.FailedPreconditionError),
        (StatusCode.UNAUTHENTICATED, recwire.FixRequestError, recwire.UnauthenticatedError),
        (StatusCode.PERMISSION_DENIED, recwire.FixRequestError, recwire.PermissionDeniedError),
        (StatusCode.UNIMPLEMENTED, recwire.FixRequestError, recwire.UnimplementedError),
        (StatusCode.RESOURCE_EXHAUSTED, recwire.TryLaterError, recwire.ResourceExhaustedError),
        (StatusCode.DEADLINE_EXCEEDED, recwire.TryLaterError, recwire.DeadlineExceededError),
        (StatusCode.UNAVAILABLE, recwire.TryLaterError, recwire.UnavailableError),
        (StatusCode.INTERNAL, recwire.RecwireError, recwire.ServerFaultError),
        (StatusCode.UNKNOWN, recwire.RecwireError, recwire.ServerFaultError),
        (StatusCode.DATA_LOSS, recwire.RecwireError, recwire.ServerFaultError),
        (StatusCode.ABORTED, recwire.RecwireError, recwire.ServerFaultError),
        (StatusCode.CANCELLED, recwire.RecwireError, recwire.CallCancelledError),
    ],
)
def test_each_status_has_its_class(server, call, code, family, error_class):
    """A status is raised as its own class, in the family that says what to do, from gRPC's error."""
    server.answer("Recommend", *[Failure(code, "no luck")] * 5)
    with pytest.raises(family) as raised:
        call("recommend", "ada")
    error = raised.value
    assert type(error) is error_class
    assert (error.code, error.message, str(error)) == (code, "no luck", "no luck")
    assert (error.reason, error.violations) == ("", ())
    assert isinstance(error.__cause__, grpc.RpcError)


def test_invalid_argument_names_every_field(server, call):
    """The violations of a BadRequest and the reason of an ErrorInfo are attributes."""
    bad = BadRequest()
    bad.field_violations.add(field="events[0].item_id", description="is empty")
    bad.field_violations.add(field="user_id", description="has 300 bytes; the limit is 256")
    info = ErrorInfo(reason="INVALID_FIELD", domain="recwire")
    server.answer("UpdateUser", Failure(StatusCode.INVALID_ARGUMENT, "two fields", (bad, info)))
    with pytest.raises(recwire.InvalidArgumentError) as raised:
        call("update_user", "ada", [])
    assert raised.value.reason == "INVALID_FIELD"
    assert raised.value.violations == (
        FieldViolation("events[0].item_id", "is empty"),
        FieldViolation("user_id", "has 300 bytes; the limit is 256"),
    )


def test_failed_precondition_names_its_subject(server, call):
    """A failed precondition and a used up quota name what they are about, as violations."""
    precondition = PreconditionFailure()
    precondition.violations.add(type="DIMENSION", subject="vector", description="has dimension 2, not 384")
    quota = QuotaFailure()
    quota.violations.add(subject="key:ada", description="100 calls a second")
    server.answer("Recommend", Failure(StatusCode.FAILED_PRECONDITION, "", (precondition,)))
    server.answer("Embed", Failure(StatusCode.RESOURCE_EXHAUSTED, "", (quota,)))
    with pytest.raises(recwire.FailedPreconditionError) as failed:
        call("recommend", vector=[0.6, 0.8])
    with pytest.raises(recwire.ResourceExhaustedError) as exhausted:
        call("embed", ["a"])
    assert failed.value.violations == (FieldViolation("vector", "has dimension 2, not 384"),)
    assert exhausted.value.violations == (FieldViolation("key:ada", "100 calls a second"),)


def test_try_later_says_when(server, call):
    """retry_after_s is what RetryInfo says, None without one."""
    delay = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    server.answer(
        "Recommend",
        Failure(StatusCode.RESOURCE_EXHAUSTED, "", (delay,)),
        Failure(StatusCode.RESOURCE_EXHAUSTED),
    )
    waits_s = []
    for _ in range(2):
        with pytest.raises(recwire.TryLaterError) as raised:
            call("recommend", "ada")
        waits_s.append(raised.value.retry_after_s)
    assert waits_s == [1.5, None]


def test_unknown_details_are_passed_over(server, call):
    """Details of a type that the client does not know take nothing away from the rest."""
    server.answer("GetItem", Failure(StatusCode.NOT_FOUND, "no item 1", (Duration(), ErrorInfo(reason="R"))))
    with pytest.raises(recwire.NotFoundError) as raised:
        call("get_item", "1")
    assert raised.value.reason == "R"


def test_broken_details_are_passed_over(server, call):
    """Details that are no google.rpc.Status leave the code and the message."""
    server.answer("GetItem", Failure(StatusCode.NOT_FOUND, "no item 1", b"\xff"))
    with pytest.raises(recwire.NotFoundError, match="no item 1"):
        call("get_item", "1")


def test_a_request_too_large_is_to_be_fixed(server, call):
    """A request beyond the limit is no matter of waiting, although gRPC answers RESOURCE_EXHAUSTED."""
    with pytest.raises(recwire.MessageTooLargeError):
        call("upsert_items", [Item(item_id="1", title="x" * 5_000_000)])
    assert server.received == []


@pytest.mark.parametrize("client_class", [recwire.Client, recwire.AsyncClient])
def test_no_server_is_unavailable(client_class):
    """An address that nobody serves is told within the default deadline, as unavailable."""
    with ScriptedServer() as gone:
        address = gone.address
    with Caller(client_class, address) as call, pytest.raises(recwire.UnavailableError):
        call("recommend", "ada")


@pytest.mark.parametrize("client_class", [recwire.Client, recwire.AsyncClient])
def test_a_deadline_is_kept(client_class):
    """A deadline that passes raises, also during the waits between the tries."""
    with ScriptedServer() as server, Caller(client_class, server.address) as call:
        server.answer("Recommend", *[UNAVAILABLE] * 5)
        with pytest.raises(recwire.DeadlineExceededError):
            call("recommend", "ada", timeout_s=0.05)
        assert len(server.received) <= 2


@pytest.mark.parametrize(("method", "arguments", "rpc"), RETRIED)
def test_idempotent_calls_are_tried_again(server, call, method, arguments, rpc):
    """While the server is unavailable, the same request goes out again, until it is served."""
    server.answer(rpc, UNAVAILABLE)
    call(method, *arguments)
    first, second = server.requests(rpc)
    assert first == second


def test_large_requests_are_tried_again(server, call):
    """The size of a request does not decide whether it is tried again."""
    server.answer("UpsertItems", UNAVAILABLE)
    call("upsert_items", [Item(item_id="1", title="x" * 4_000_000)])
    assert len(server.received) == 2


def test_trying_ends(server, call):
    """After five tries the caller is told, with what the server said."""
    server.answer("Recommend", *[UNAVAILABLE] * 9)
    with pytest.raises(recwire.UnavailableError, match="draining"):
        call("recommend", "ada")
    assert len(server.received) == 5


@pytest.mark.parametrize(
    "code",
    [StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL, StatusCode.INVALID_ARGUMENT, StatusCode.ABORTED],
)
def test_only_unavailability_is_tried_again(server, call, code):
    """Any other error is told at once."""
    server.answer("Recommend", Failure(code))
    with pytest.raises(recwire.RecwireError):
        call("recommend", "ada")
    assert len(server.received) == 1


def test_imports_are_not_tried_again(server, call):
    """An import that fails tells its caller, who knows where to begin again."""
    server.answer("ImportItems", UNAVAILABLE)
    with pytest.raises(recwire.UnavailableError):
        call("import_items", [Item(item_id="1")])
    assert len(server.received) == 1


def test_an_error_of_one_message_of_a_stream_is_raised_in_its_place(server, call):
    """As its own class, with what the message's StreamError says; the embeddings before it have been yielded."""
    error = StreamError(
        code=StatusCode.RESOURCE_EXHAUSTED.value[0],
        reason="OVERLOADED",
        message="busy",
        fields=["texts[1]"],
        retry_delay=Duration(seconds=1, nanos=500_000_000),
    )
    answer = EmbedStreamResponse(response=EmbedResponse(embeddings=[Embedding(vector=bytes(4))] * 64))
    server.answer("EmbedStream", answer, EmbedStreamResponse(error=error))
    yielded: list[recwire.Embedding] = []
    with pytest.raises(recwire.ResourceExhaustedError) as raised:
        call.into(yielded, "embed_stream", ["text"] * 100)
    assert len(yielded) == 64
    assert (raised.value.code, raised.value.reason, raised.value.message) == (
        StatusCode.RESOURCE_EXHAUSTED,
        "OVERLOADED",
        "busy",
    )
    assert raised.value.violations == (FieldViolation("texts[1]", "busy"),)
    assert raised.value.retry_after_s == 1.5


def test_a_stream_that_ends_with_an_error_raises_it(server, call):
    """The same as any call."""
    server.answer("EmbedStream", UNAVAILABLE)
    with pytest.raises(recwire.UnavailableError, match="draining"):
        call("embed_stream", ["text"] * 1_000)


def test_a_stream_that_ends_half_way_can_be_tried_again(server, call):
    """Also where gRPC itself loses the server's status, because it was sending."""
    answer = EmbedStreamResponse(response=EmbedResponse(embeddings=[Embedding(vector=bytes(4))] * 64))
    server.answer("EmbedStream", answer, UNAVAILABLE)
    yielded: list[recwire.Embedding] = []
    with pytest.raises(recwire.UnavailableError):
        call.into(yielded, "embed_stream", ["text"] * 1_000)
    assert len(yielded) == 64
