"""What the Python client sends and returns, over real sockets; each test is about both kinds of client."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from scripted_server import Caller, ScriptedServer

import recwire
from recwire import Event, EventType, Item, StoredEvent, UserUpdate
from recwire.v1.admin_service_pb2 import CheckUsersResponse, GetServerInfoResponse
from recwire.v1.catalog_service_pb2 import GetItemResponse, ImportItemsResponse, ItemError, ListItemsResponse
from recwire.v1.model_pb2 import ModelVersion
from recwire.v1.recommendation_pb2 import RecommendResponse
from recwire.v1.recommender_service_pb2 import (
    Embedding,
    EmbedResponse,
    EmbedStreamResponse,
    UpdateUserResponse,
    UpdateUserStreamResponse,
)
from recwire.v1.stream_pb2 import StreamError
from recwire.v1.user_service_pb2 import ExportUserResponse, ListEventsResponse

BOTH = pytest.mark.parametrize("client_class", [recwire.Client, recwire.AsyncClient])
VIEW = Event(item_id="42", type=EventType.EVENT_TYPE_VIEW)
CALLS: list[tuple[str, tuple[Any, ...], str, float]] = [  # method, arguments, rpc, default deadline
    ("embed", (["a"] * 100,), "Embed", 25.0),
    ("update_user", ("ada", [VIEW] * 100), "UpdateUser", 25.0),
    ("recommend", ("ada",), "Recommend", 5.0),
    ("upsert_items", ([Item(item_id="1", texts=["a"])] * 50,), "UpsertItems", 25.0),
    ("import_items", ([Item(item_id="1")] * 100,), "ImportItems", 25.0),
    ("delete_items", (["1"],), "DeleteItems", 5.0),
    ("get_item", ("1",), "GetItem", 5.0),
    ("list_items", (), "ListItems", 5.0),
    ("get_user", ("ada",), "GetUser", 5.0),
    ("forget_events", ("ada", ["e1"]), "ForgetEvents", 5.0),
    ("list_events", ("ada",), "ListEvents", 5.0),
    ("delete_user", ("ada",), "DeleteUser", 5.0),
    ("get_server_info", (), "GetServerInfo", 5.0),
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=[recwire.Client, recwire.AsyncClient])
def call(request: pytest.FixtureRequest, server: ScriptedServer) -> Iterator[Caller]:
    with Caller(request.param, server.address) as call:
        yield call


@pytest.mark.parametrize(("method", "arguments", "rpc", "deadline_s"), CALLS)
def test_every_call_has_a_deadline(server, call, method, arguments, rpc, deadline_s):
    """A call that says nothing has 5 s, and .2 s more for each text to embed."""
    call(method, *arguments)
    (received,) = server.received
    assert received.rpc == rpc
    assert received.timeout_s == pytest.approx(deadline_s, abs=3)  # some of it is spent on the way


@BOTH
@pytest.mark.parametrize(("method", "arguments", "rpc", "deadline_s"), CALLS)
def test_the_nearest_deadline_wins(server, client_class, method, arguments, rpc, deadline_s):
    """A call's own timeout_s goes before the client's, which goes before the default."""
    with Caller(client_class, server.address, timeout_s=100) as call:
        call(method, *arguments)
        call(method, *arguments, timeout_s=50)
    assert [round(received.timeout_s, -1) for received in server.received] == [100, 50]


def test_update_user_fills_in_event_ids(server, call):
    """Every event leaves with an id, its own or a fresh one; the caller's objects stay as they are."""
    own, nameless = Event(event_id="mine", item_id="1"), Event(item_id="2")
    call("update_user", "ada", [own, nameless, nameless])
    (request,) = server.requests("UpdateUser")
    ids = [event.event_id for event in request.events]
    assert ids[0] == "mine"
    assert len({*ids, ""}) == 4
    assert nameless == Event(item_id="2")


def test_update_user_returns_recommendations_in_the_same_call(server, call):
    """The options of a recommendation travel with the events; the answer comes back with their receipt."""
    server.answer("UpdateUser", UpdateUserResponse(recommendation=RecommendResponse(recommendation_id="r1")))
    answer = call("update_user", "ada", [VIEW], recommend=recwire.RecommendOptions(limit=3))
    assert answer.recommendation.recommendation_id == "r1"
    assert server.requests("UpdateUser")[0].recommend.limit == 3


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ({"user_id": "ada"}, "user_id"),
        ({"session": [VIEW]}, "session"),
        ({"session": []}, "session"),
        ({"item_id": "1"}, "item_id"),
        ({"text": "hiking"}, "text"),
        ({"vector": [0.6, 0.8]}, "vector"),
    ],
)
def test_recommend_sends_its_target(server, call, target, kind):
    """Whatever is asked about travels as the one target of the request."""
    call("recommend", **target)
    assert server.requests("Recommend")[0].WhichOneof("target") == kind


@pytest.mark.parametrize("targets", [{}, {"user_id": "ada", "item_id": "1"}])
def test_recommend_refuses_any_other_number_of_targets(server, call, targets):
    """None or two targets raise at once: on the wire one would win, in silence."""
    with pytest.raises(TypeError, match="exactly one of"):
        call("recommend", **targets)
    assert server.received == []


def test_recommend_sends_its_options(server, call):
    """Every keyword arrives as the field of its name."""
    brand = recwire.Condition(attribute="brand", any_of=recwire.StringSet(values=["acme"]))
    options = {
        "limit": 5,
        "filter": recwire.Filter(must=[brand]),
        "exclude_item_ids": ["1"],
        "seen": recwire.SeenPolicy.SEEN_POLICY_INCLUDE,
        "explain": True,
        "diversity": 0.5,
        "ignore_event_ids": ["e1"],
        "exact": True,
        "include_items": True,
        "rotation": timedelta(hours=1),
        "boosts": [recwire.Boost(when=brand, add=0.1)],
        "min_score": 0.0,
        "item_ids": ["2", "3"],
    }
    call("recommend", "ada", min_revision=7, **options)
    (request,) = server.requests("Recommend")
    assert request.min_revision == 7
    assert request.options == recwire.RecommendOptions(**options)
    assert {field.name for field, _ in request.options.ListFields()} == set(options)


def test_embed_returns_vectors(server, call):
    """Embeddings come as float32 arrays with what is known about each, and the model's name."""
    vector = np.array([0.6, -0.8], np.float32)
    server.answer(
        "Embed",
        EmbedResponse(
            embeddings=[
                Embedding(vector=vector.tobytes(), token_count=3),
                Embedding(vector=vector.tobytes(), token_count=900, truncated=True),
            ],
            model=ModelVersion(name="hash", version="1"),
        ),
    )
    embeddings = call("embed", ["a", "b"])
    assert [row.dtype for row in embeddings.vectors] == [np.float32, np.float32]
    np.testing.assert_array_equal(np.stack(embeddings.vectors), np.stack([vector, vector]))
    assert embeddings.token_counts == (3, 900)
    assert embeddings.truncated == (False, True)
    assert embeddings.model.name == "hash"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("embed", ()), ("embed_stream", ()), ("delete_items", ()), ("forget_events", ("ada",))],
)
def test_a_lone_text_is_refused(server, call, method, arguments):
    """A text where a list of texts belongs raises, instead of passing as its letters."""
    with pytest.raises(TypeError, match="not one text"):
        call(method, *arguments, "hiking")


def test_embed_stream_yields_an_embedding_a_text(server, call):
    """In order, whatever requests of at most 64 texts they travel in."""
    texts = [f"text {number}" for number in range(400)]
    embeddings = [Embedding(vector=np.float32([n]).tobytes(), token_count=n, truncated=n == 3) for n in range(400)]
    model = ModelVersion(name="hash", version="1")
    server.answer(
        "EmbedStream",
        *(
            EmbedStreamResponse(response=EmbedResponse(embeddings=embeddings[start : start + 64], model=model))
            for start in range(0, 400, 64)
        ),
    )
    received = call("embed_stream", iter(texts), purpose=recwire.EmbedPurpose.EMBED_PURPOSE_DOCUMENT)
    assert [embedding.vector[0] for embedding in received] == list(range(400))
    assert [embedding.token_count for embedding in received] == list(range(400))
    assert [embedding.truncated for embedding in received].index(True) == 3
    assert {embedding.model.name for embedding in received} == {"hash"}
    requests = [message.request for message in server.requests("EmbedStream")]
    assert [text for request in requests for text in request.texts] == texts
    assert {request.purpose for request in requests} == {recwire.EmbedPurpose.EMBED_PURPOSE_DOCUMENT}
    assert max(len(request.texts) for request in requests) == 64


def test_embed_stream_of_nothing_yields_nothing(server, call):
    """No text, no embedding, no request."""
    assert call("embed_stream", []) == []
    assert server.received == []


def test_embed_stream_reads_no_further_than_it_must(server):
    """The texts are pulled on the caller's thread, a few requests ahead of what was yielded."""
    server.answer("EmbedStream", *[answer_of(64)] * 100)
    pulled: list[threading.Thread] = []

    def texts() -> Iterator[str]:
        while True:
            pulled.append(threading.current_thread())
            yield "text"

    with recwire.Client(server.address) as client:
        stream = client.embed_stream(texts())
        for yielded in range(1, 400):
            next(stream)
            assert len(pulled) < yielded + 5 * 64
        stream.close()
    assert set(pulled) == {threading.current_thread()}


async def test_async_embed_stream_takes_an_async_iterable(server):
    """The asyncio client reads texts as they come from an asynchronous source."""
    server.answer("EmbedStream", answer_of(64), answer_of(36))

    async def texts() -> AsyncIterator[str]:
        for number in range(100):
            yield f"text {number}"

    async with recwire.AsyncClient(server.address) as client:
        assert len([embedding async for embedding in client.embed_stream(texts())]) == 100
    assert [len(message.request.texts) for message in server.requests("EmbedStream")] == [64, 36]


def test_update_user_stream_yields_an_outcome_an_update(server, call):
    """In order, with the update as it was sent, an id in each of its events; an error stands in its place."""
    error = StreamError(code=3, message="is empty", fields=["events[0].item_id"])
    server.answer(
        "UpdateUserStream",
        UpdateUserStreamResponse(response=UpdateUserResponse(revision=1)),
        UpdateUserStreamResponse(error=error),
        UpdateUserStreamResponse(response=UpdateUserResponse(revision=2)),
    )
    options = recwire.RecommendOptions(limit=3)
    first, second, third = call(
        "update_user_stream",
        iter([UserUpdate("ada", [VIEW, VIEW]), UserUpdate("bea", [Event()]), UserUpdate("ada", iter([VIEW]), options)]),
    )
    assert [first.response.revision, third.response.revision] == [1, 2]
    assert (first.error, second.response, third.error) == (None, None, None)
    assert isinstance(second.error, recwire.InvalidArgumentError)
    assert [violation.field for violation in second.error.violations] == ["events[0].item_id"]
    requests = [message.request for message in server.requests("UpdateUserStream")]
    for outcome, request in zip([first, second, third], requests, strict=True):
        assert outcome.update.user_id == request.user_id
        assert list(outcome.update.events) == list(request.events)
    assert len({event.event_id for request in requests for event in request.events} - {""}) == 4
    assert (first.update.recommend, third.update.recommend) == (None, options)
    assert VIEW.event_id == ""


@BOTH
def test_update_user_stream_reads_at_most_64_ahead(server, client_class):
    """Nothing is read beyond what may be unanswered, and what is answered is yielded before more is read."""
    read = [0]

    def updates() -> Iterator[UserUpdate]:
        while True:
            read[0] += 1
            yield UserUpdate("ada", [VIEW])

    async def take() -> None:
        async with recwire.AsyncClient(server.address) as client:
            stream = client.update_user_stream(updates())
            for yielded in range(1, 300):
                await anext(stream)
                assert read[0] < yielded + 64
            await stream.aclose()

    if client_class is recwire.AsyncClient:
        asyncio.run(take())
        return
    with recwire.Client(server.address) as client:
        stream = client.update_user_stream(updates())
        for yielded in range(1, 300):
            next(stream)
            assert read[0] < yielded + 64
        stream.close()


async def test_async_update_user_stream_takes_an_async_iterable(server):
    """The asyncio client reads updates as they come; a slow source's outcomes come before it has sent 64 updates."""
    outcomes: list[recwire.UpdateOutcome] = []

    async with recwire.AsyncClient(server.address) as client:

        async def updates() -> AsyncIterator[UserUpdate]:
            for number in range(64):
                if not outcomes:
                    yield UserUpdate(str(number), [VIEW])
                await client.get_server_info()  # takes as long as an answer

        async for outcome in client.update_user_stream(updates()):
            outcomes.append(outcome)
    assert 1 <= len(outcomes) < 64
    assert [outcome.update.user_id for outcome in outcomes] == [str(number) for number in range(len(outcomes))]


def test_a_slow_sources_outcomes_come_early(server):
    """What has been answered is yielded with the next update, not 64 updates later."""
    outcomes: list[recwire.UpdateOutcome] = []

    with recwire.Client(server.address) as client:

        def updates() -> Iterator[UserUpdate]:
            for number in range(64):
                if not outcomes:
                    yield UserUpdate(str(number), [VIEW])
                client.get_server_info()  # takes as long as an answer

        for outcome in client.update_user_stream(updates()):
            outcomes.append(outcome)
    assert 1 <= len(outcomes) < 64


def test_list_events_reads_every_page(server, call):
    """All events come, in order, whatever pages they come in."""
    events = [StoredEvent(event=Event(event_id=event_id)) for event_id in "321"]
    server.answer(
        "ListEvents",
        ListEventsResponse(events=events[:2], next_page_token="two"),
        ListEventsResponse(events=events[2:]),
    )
    assert call("list_events", "ada") == events
    assert [request.page_token for request in server.requests("ListEvents")] == ["", "two"]


def test_what_streams_back_comes_in_order(server, call):
    """export_user yields events, whatever messages they come in; check_users each message."""
    events = [StoredEvent(event=Event(event_id=event_id)) for event_id in "123"]
    server.answer("ExportUser", ExportUserResponse(events=events[:2]), ExportUserResponse(events=events[2:]))
    progress = [CheckUsersResponse(checked_count=count) for count in (100, 150)]
    server.answer("CheckUsers", *progress)
    assert call("export_user", "ada") == events
    assert call("check_users") == progress


def answer_of(count: int) -> EmbedStreamResponse:
    return EmbedStreamResponse(response=EmbedResponse(embeddings=[Embedding(vector=bytes(4))] * count))


def test_list_items_reads_every_page(server, call):
    """All items come, in order, whatever pages they come in."""
    server.answer(
        "ListItems",
        ListItemsResponse(items=[Item(item_id="1"), Item(item_id="2")], next_page_token="two"),
        ListItemsResponse(next_page_token="three"),
        ListItemsResponse(items=[Item(item_id="3")]),
    )
    assert [item.item_id for item in call("list_items")] == ["1", "2", "3"]
    assert [request.page_token for request in server.requests("ListItems")] == ["", "two", "three"]


def test_get_calls_return_what_was_asked_for(server, call):
    """get_item returns the item itself, get_server_info the server's answer."""
    server.answer("GetItem", GetItemResponse(item=Item(item_id="1", title="Hiking")))
    server.answer("GetServerInfo", GetServerInfoResponse(item_count=9))
    assert call("get_item", "1").title == "Hiking"
    assert call("get_server_info").item_count == 9


def test_import_items_cuts_batches(server, call):
    """A batch has at most 256 items and 4 MiB; all items arrive, in order."""
    items = [Item(item_id=str(n)) for n in range(300)]
    items += [Item(item_id=f"large {n}", texts=["x" * 1_000_000]) for n in range(6)]
    call("import_items", iter(items))
    requests = server.requests("ImportItems")
    assert [len(request.items) for request in requests] == [256, 48, 2]
    assert [item for request in requests for item in request.items] == items
    assert max(request.ByteSize() for request in requests) <= 4 * 1024 * 1024


def test_import_items_yields_progress(server, call):
    """After each batch comes the count of all items so far, and the items that were refused."""
    refused = ItemError(item_id="3", field="texts", message="is empty")
    server.answer(
        "ImportItems",
        ImportItemsResponse(imported_count=256),
        ImportItemsResponse(imported_count=43, errors=[refused], catalog_revision=2),
    )
    progress = call("import_items", (Item(item_id=str(n)) for n in range(300)))
    assert [answer.imported_count for answer in progress] == [256, 299]
    assert list(progress[1].errors) == [refused]


async def test_async_import_takes_an_async_iterable(server):
    """The asyncio client reads items as they come from an asynchronous source."""

    async def items() -> AsyncIterator[Item]:
        for n in range(300):
            yield Item(item_id=str(n))

    async with recwire.AsyncClient(server.address) as client:
        async for _ in client.import_items(items()):
            pass
    assert [len(request.items) for request in server.requests("ImportItems")] == [256, 44]


def test_large_answers_are_taken(server, call):
    """An answer may be larger than gRPC's 4 MiB: explanations are."""
    server.answer("GetItem", GetItemResponse(item=Item(title="x" * 5_000_000)))
    assert len(call("get_item", "1").title) == 5_000_000


def test_both_clients_are_the_same():
    """The two clients have the same methods in the same order, with the same arguments and docstrings."""

    def methods(client_class: type) -> dict[str, Any]:
        return {
            name: member
            for name, member in vars(client_class).items()
            if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_"))
        }

    blocking, asynchronous = methods(recwire.Client), methods(recwire.AsyncClient)
    assert list(blocking) == list(asynchronous)
    for name, method in blocking.items():
        other = asynchronous[name]
        assert _plain(method) == _plain(other), name
        assert name == "close" or method.__doc__ == other.__doc__, name
        if name != "__init__":
            assert inspect.isasyncgenfunction(other) or inspect.iscoroutinefunction(other), name


def _plain(method: Any) -> list[tuple[str, Any, Any, Any]]:
    """The parameters of a method, leaving out that an iterable may be asynchronous too."""
    return [
        (p.name, p.kind, p.default, str(p.annotation).split(" | collections.abc.AsyncIterable")[0])
        for p in inspect.signature(method).parameters.values()
    ]
