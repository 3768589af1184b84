"""UpdateUserStream records what pipelines send: in order, durable, error by error, many messages to a commit."""

import asyncio
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from conftest import RunningServer, StartServer
from gated_encoder import PATIENCE_S, GatedEncoder
from scripted_server import Caller

import recwire
from recwire import Client, Event, Item, NotFoundError, RecommendOptions, UserUpdate
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.service.recommender_service import MAX_UPDATES_IN_WORK
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

UPDATE_STREAM = "/recwire.v1.RecommenderService/UpdateUserStream"
CLIENTS = pytest.mark.parametrize("client_class", [recwire.Client, recwire.AsyncClient])


def message(user_id: str, *events: Event, **fields: object) -> pb.UpdateUserStreamRequest:
    return pb.UpdateUserStreamRequest(request=pb.UpdateUserRequest(user_id=user_id, events=events, **fields))


def answers(server: RunningServer, requests: Iterator[pb.UpdateUserStreamRequest]) -> list[pb.UpdateUserStreamResponse]:
    with grpc.insecure_channel(server.address) as channel:
        return list(RecommenderServiceStub(channel).UpdateUserStream(requests, timeout=PATIENCE_S))


def event_ids(client: Client, user_id: str) -> list[str]:
    """A user's events, in the order in which they were recorded."""
    return [stored.event.event_id for stored in client.list_events(user_id)][::-1]


def test_answers_come_in_the_order_of_the_messages(hash_server):
    """One each, as UpdateUser would answer: revisions, duplicates, pending items, recommendations."""
    hash_server.client.upsert_items([Item(item_id=item_id, texts=[item_id]) for item_id in "abc"])
    received = answers(
        hash_server,
        iter(
            [
                message("ada", Event(event_id="1", item_id="a"), Event(event_id="2", text="b")),
                message("bea", Event(event_id="1", item_id="to come")),
                message("ada", Event(event_id="2", text="b"), Event(event_id="3", item_id="b")),
                message("ada", Event(item_id="a"), recommend=RecommendOptions(limit=2)),
            ]
        ),
    )
    first, second, third, fourth = [answer.response for answer in received]
    assert [answer.applied_count for answer in (first, second, third, fourth)] == [2, 1, 1, 1]
    assert second.pending_item_ids == ["to come"]
    assert third.duplicate_event_ids == ["2"]
    assert [one.item_id for one in fourth.recommendation.recommendations] == ["c"]
    assert first.revision < third.revision < fourth.revision == hash_server.client.get_user("ada").revision


def test_many_answers_come_in_order(hash_server):
    """Messages of many users with texts and items, each answered in its place."""
    requests = [
        message(
            f"user {n % 7}",
            *(Event(text=f"text {n} {m}") if n % 3 else Event(item_id=f"{n}") for m in range(n % 5 + 1)),
        )
        for n in range(500)
    ]
    received = answers(hash_server, iter(requests))
    assert [answer.response.applied_count for answer in received] == [n % 5 + 1 for n in range(500)]
    for user in range(7):
        revisions = [answer.response.revision for answer in received[user::7]]
        assert revisions == sorted(set(revisions))


def test_a_bad_message_is_answered_in_its_place(hash_server):
    """With the status, reason and fields that UpdateUser would give; none of it is recorded, and the stream goes on."""
    good = Event(event_id="good", item_id="a")
    bad = [
        message("ada", Event(event_id="1", item_id="a"), Event(text=" "), Event(event_id="2")),
        message("", good),
        message("ada"),
        pb.UpdateUserStreamRequest(),
        message("ada", *[good] * 257),
    ]
    received = answers(
        hash_server, iter([message("ada", good), *bad, message("ada", Event(event_id="last", item_id="a"))])
    )
    errors = [answer.error for answer in received[1:-1]]
    assert [answer.WhichOneof("outcome") for answer in received] == ["response", *["error"] * 5, "response"]
    assert {(error.code, error.reason) for error in errors} == {(3, "INVALID_FIELD")}
    assert [list(error.fields) for error in errors] == [
        ["events[1].text", "events[2]"],
        ["user_id"],
        ["events"],
        ["user_id", "events"],
        ["events"],
    ]
    assert event_ids(hash_server.client, "ada") == ["good", "last"]


def test_bytes_that_are_no_message_are_answered_in_their_place(hash_server):
    """What does not parse is one bad message like another."""
    good = message("ada", Event(item_id="a")).SerializeToString()
    with grpc.insecure_channel(hash_server.address) as channel:
        stream = channel.stream_stream(UPDATE_STREAM, response_deserializer=pb.UpdateUserStreamResponse.FromString)
        received = list(stream(iter([good, b"\xff" * 9, good]), timeout=PATIENCE_S))
    assert [answer.WhichOneof("outcome") for answer in received] == ["response", "error", "response"]


def test_an_items_event_does_not_overtake_a_texts(start_server: StartServer):
    """What a stream says of one user takes effect in its order, also where an earlier text waits for the encoder; other
    users do not wait for it."""
    encoder = GatedEncoder()
    server = start_server(encoder, encoder_thread_count=1)
    requests = [
        message("ada", Event(event_id="1", text="slow")),
        *(message("ada", Event(event_id=f"{n}", item_id="a")) for n in range(2, 9)),
        message("bea", Event(event_id="1", item_id="a")),
    ]
    with grpc.insecure_channel(server.address) as channel:
        stream = RecommenderServiceStub(channel).UpdateUserStream(iter(requests), timeout=PATIENCE_S)
        asyncio.run(encoder.reached(1))
        while not server.client.get_server_info().user_count:
            pass  # bea's event is recorded beside
        with pytest.raises(NotFoundError):
            server.client.get_user("ada")
        encoder.open()
        assert [answer.response.applied_count for answer in stream] == [1] * 9
    assert event_ids(server.client, "ada") == [str(n) for n in range(1, 9)]
    assert [stored.event.event_id for stored in server.client.export_user("ada")] == [str(n) for n in range(1, 9)]


def test_messages_share_commits(start_server: StartServer, tmp_path: Path):
    """Messages on different users that come while a commit takes its time, up to 64, are in the next one together."""
    server = start_server()
    database = tmp_path / "data" / "recwire.sqlite3"
    read = threading.Event()

    def requests() -> Iterator[pb.UpdateUserStreamRequest]:
        for n in range(MAX_UPDATES_IN_WORK):
            yield message(f"user {n}", Event(item_id="a"))
        read.set()

    with (
        closing(sqlite3.connect(database, isolation_level=None)) as slow_disk,
        grpc.insecure_channel(server.address) as channel,
    ):
        commits_before = commit_count(database)
        slow_disk.execute("BEGIN IMMEDIATE")
        stream = RecommenderServiceStub(channel).UpdateUserStream(requests(), timeout=PATIENCE_S)
        assert read.wait(PATIENCE_S)
        for _ in range(10):  # on the same connection: the server has the messages by then
            AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest())
        slow_disk.execute("ROLLBACK")
        assert [answer.response.applied_count for answer in stream] == [1] * MAX_UPDATES_IN_WORK
        # One that began alone, and one with all the others; or a few, on a machine that is busy.
        assert 2 <= commit_count(database) - commits_before <= 6


def commit_count(database: Path) -> int:
    """Count the commits in the write-ahead log of an SQLite database.

    https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a header of 32 bytes, with the size of a page at 8;
    then frames of a header of 24 bytes and a page. A frame that ends a commit has the database's size at 4, others 0.
    """
    log = database.with_name(f"{database.name}-wal").read_bytes()
    (page_size,) = struct.unpack_from(">I", log, 8)
    sizes = [struct.unpack_from(">I", log, start + 4)[0] for start in range(32, len(log), 24 + page_size)]
    return sum(size > 0 for size in sizes)


def test_what_was_answered_survives_a_restart(tmp_path):
    """Every acknowledged message is there, in order, after the server has gone and come back."""
    settings = load_settings({"data_dir": tmp_path / "data", "listen": "127.0.0.1:0"})
    with running_server(settings, HashEncoder()) as address, Client(address) as client:
        updates = (UserUpdate(f"user {n % 5}", [Event(event_id=f"{n}", text=f"text {n}")]) for n in range(300))
        last = [outcome.response.revision for outcome in client.update_user_stream(updates)][-5:]
        vectors = [client.get_user(f"user {user}").vector for user in range(5)]
    with running_server(settings, HashEncoder()) as address, Client(address) as client:
        for user in range(5):
            assert event_ids(client, f"user {user}") == [f"{n}" for n in range(user, 300, 5)]
            assert client.get_user(f"user {user}").revision == last[user]
            assert client.get_user(f"user {user}").vector == vectors[user]


def test_a_client_that_vanishes_loses_nothing_acknowledged(hash_server):
    """What was answered stays; what was under way is recorded in full or not at all, and can be sent again."""
    sent = [(f"user {n % 3}", [Event(event_id=f"{n} {m}", item_id="a") for m in range(3)]) for n in range(600)]
    for taken in (1, 40, 150):
        mine = [(f"{taken} {user_id}", events) for user_id, events in sent]
        with grpc.insecure_channel(hash_server.address) as channel:
            stream = RecommenderServiceStub(channel).UpdateUserStream(
                message(user_id, *events) for user_id, events in mine
            )
            acknowledged = [next(stream).response.applied_count for _ in range(taken)]
            stream.cancel()
        assert acknowledged == [3] * taken
        again = [
            outcome.response for outcome in hash_server.client.update_user_stream(UserUpdate(*one) for one in mine)
        ]
        assert [answer.applied_count for answer in again[:taken]] == [0] * taken
        assert {answer.applied_count for answer in again} == {0, 3}
        for user in range(3):
            ids = event_ids(hash_server.client, f"{taken} user {user}")
            assert ids == [event.event_id for _, events in mine[user::3] for event in events]
    differing = [user_id for one in hash_server.client.check_users() for user_id in one.differing_user_ids]
    assert differing == []


@CLIENTS
def test_the_clients_outcomes(client_class, hash_server):
    """Responses and errors in their places; an update that failed can be mended and sent again."""
    updates = [UserUpdate("ada", [Event(event_id=f"{n}", text=f"text {n}" if n % 10 else " ")]) for n in range(200)]
    with Caller(client_class, hash_server.address) as call:
        outcomes = call("update_user_stream", updates)
        failed = [outcome for outcome in outcomes if outcome.error]
        assert [outcome.update.events[0].event_id for outcome in failed] == [f"{n}" for n in range(0, 200, 10)]
        assert all(isinstance(outcome.error, recwire.InvalidArgumentError) for outcome in failed)
        assert [outcome.response is None for outcome in outcomes] == [n % 10 == 0 for n in range(200)]
        again = call("update_user_stream", [outcome.update for outcome in outcomes if not outcome.error])
    assert {outcome.response.applied_count for outcome in again} == {0}
    assert hash_server.client.get_user("ada").event_count == 180


@CLIENTS
def test_the_client_waits_for_an_outcome_as_long_as_it_was_told(client_class, start_server):
    """Then DeadlineExceededError is raised; what came before was yielded."""
    encoder = GatedEncoder()
    outcomes: list[recwire.UpdateOutcome] = []
    updates = [UserUpdate("ada", [Event(item_id="a")]), UserUpdate("bea", [Event(text="slow")])]
    with Caller(client_class, start_server(encoder).address) as call:
        with pytest.raises(recwire.DeadlineExceededError, match=r"no answer within 1 s"):
            call.into(outcomes, "update_user_stream", updates, timeout_s=1.0)
        encoder.open()
    assert [outcome.update.user_id for outcome in outcomes] == ["ada"]


def test_closing_the_client_ends_its_streams(start_server):
    """A thread that waits for an outcome hears CallCancelledError."""
    encoder = GatedEncoder()
    client = Client(start_server(encoder).address)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            list(client.update_user_stream([UserUpdate("ada", [Event(text="slow")])]))
        except recwire.RecwireError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    asyncio.run(encoder.reached(1))
    client.close()
    waiting.join(PATIENCE_S)
    encoder.open()
    assert [type(error) for error in raised] == [recwire.CallCancelledError]
    assert not [thread for thread in threading.enumerate() if thread.name == "recwire-stream"]
