"""What is stored about users: shown in order, taken back exactly, the same as a replay whatever happened at once."""

import random
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from conftest import StartServer
from google.protobuf.timestamp_pb2 import Timestamp
from scripted_server import Caller

import recwire
from recwire import Client, Event, EventType, Item, NotFoundError, SeenPolicy, StoredEvent, UserUpdate, to_bytes
from recwire.v1.user_service_pb2 import ExportUserRequest, ListEventsRequest
from recwire.v1.user_service_pb2_grpc import UserServiceStub
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

DIM = 32
T0_S = 1_700_000_000
DAY_S = 24 * 3600
WORDS = ["lamp", "kettle", "river", "novel", "space", "piano", "garden", "bicycle"]
USER_IDS = ["ada", "bea", "cleo"]
ITEM_IDS = [f"i{n}" for n in range(12)]
PENDING_ID = "to come"
RULES = pytest.mark.parametrize(
    "rules",
    [
        {},
        {"decay_per_event": 0.7},
        {"decay_half_life_s": 2.0 * DAY_S},
        {"decay_per_event": 0.7, "decay_half_life_s": 2.0 * DAY_S, "repeat_window_s": 5.0 * DAY_S},
        {"max_history_events": 5},
        {"max_history_events": 5, "older_events": "ignore", "decay_per_event": 0.7},
        {"user_cache_bytes": 10_000},
    ],
    ids=lambda rules: ", ".join(rules) or "defaults",
)


def item(item_id: str, version: int = 0) -> Item:
    words = random.Random(f"{item_id} {version}").choices(WORDS, k=3)
    return Item(item_id=item_id, texts=[" ".join(words), item_id])


def events_of(user_id: str, count: int) -> list[Event]:
    """Events of every kind, each at a time of its own, in the order of the times."""
    source = random.Random(user_id)
    events = []
    for number in range(count):
        subject = source.choice(
            [
                {"item_id": source.choice(ITEM_IDS)},
                {"item_id": source.choice(ITEM_IDS)},
                {"item_id": PENDING_ID},
                {"text": " ".join(source.choices(WORDS, k=2))},
                {"vector": to_bytes(np.random.default_rng(source.randrange(9)).normal(size=DIM))},
            ]
        )
        weight = source.choice([{}, {}, {}, {"weight": -0.5}, {"weight": 0.0}, {"weight": 2.5}])
        time = Timestamp(seconds=T0_S + number * DAY_S // 3, nanos=number)
        kind = source.choice([0, 1, 3, 5, 7])
        events.append(Event(event_id=f"{user_id}-{number}", type=kind, event_time=time, **subject, **weight))
    return events


def states(client: Client) -> list[object]:
    """What a client can see of the users and of what is popular, without revisions and times of recording."""
    seen: list[object] = []
    for user_id in [*USER_IDS, "nobody"]:
        for policy in (SeenPolicy.SEEN_POLICY_EXCLUDE, SeenPolicy.SEEN_POLICY_INCLUDE):
            answer = client.recommend(user_id, limit=100, explain=True, seen=policy)
            seen.append(list(answer.recommendations))
    for user_id in USER_IDS:
        try:
            user = client.get_user(user_id)
        except NotFoundError:
            seen.append(None)
            continue
        events = [(one.event, one.effective_weight, one.pending) for one in client.export_user(user_id)]
        seen += [user.vector, user.event_count, user.seen_count, events]
    return seen


def differing_users(client: Client) -> list[str]:
    return [user_id for progress in client.check_users() for user_id in progress.differing_user_ids]


def in_time(stored: Sequence[StoredEvent]) -> list[str]:
    return [one.event.event_id for one in stored]


@pytest.fixture
def start_two(start_server: StartServer, tmp_path: Path) -> Callable[..., tuple[Client, Client]]:
    """Starts two servers with the same settings and catalogue."""

    def start(**settings: object) -> tuple[Client, Client]:
        clients = [start_server(data_dir=tmp_path / name, **settings).client for name in ("one", "other")]
        for client in clients:
            client.upsert_items([item(item_id) for item_id in ITEM_IDS])
        return clients[0], clients[1]

    return start


@RULES
def test_forgotten_events_have_not_happened(start_two, rules):
    """Vectors, recommendations, explanations and what is popular are, to the last bit, those of a server that never had
    them, whatever they were on; sent again, they count again."""
    client, other = start_two(**rules)
    source = random.Random(7)
    kinds = set()
    for user_id in USER_IDS:
        events = events_of(user_id, 30)
        client.update_user(user_id, events)
        forgotten = [event for event in events if source.random() < 0.4]
        kept = [event for event in events if event not in forgotten]
        other.update_user(user_id, kept)
        for start in range(0, len(forgotten), 4):
            event_ids = [event.event_id for event in forgotten[start : start + 4]]
            assert client.forget_events(user_id, event_ids).forgotten_count == len(event_ids)
        kinds |= {event.WhichOneof("subject") for event in forgotten}
    assert kinds == {"item_id", "text", "vector"}
    assert states(client) == states(other)
    client.upsert_items([item("i1", version=1), item(PENDING_ID)])
    other.upsert_items([item("i1", version=1), item(PENDING_ID)])
    assert states(client) == states(other)
    for user_id in USER_IDS:
        for one in (client, other):
            one.update_user(user_id, events_of(user_id, 30))
    assert states(client) == states(other)
    assert differing_users(client) == []


def test_a_restart_forgets_nothing_of_forgetting(tmp_path, start_two):
    """What was forgotten stays so, for the users and for what is popular."""
    settings = {"data_dir": tmp_path / "restarted", "listen": "127.0.0.1:0", "decay_per_event": 0.7}
    _, other = start_two(decay_per_event=0.7)
    with running_server(load_settings(settings), HashEncoder()) as address, Client(address) as client:
        client.upsert_items([item(item_id) for item_id in ITEM_IDS])
        for user_id in USER_IDS:
            events = events_of(user_id, 20)
            client.update_user(user_id, events)
            client.forget_events(user_id, [event.event_id for event in events[::2]])
            other.update_user(user_id, events[1::2])
        revisions = [client.get_user(user_id).revision for user_id in USER_IDS]
        last = client.forget_events("ada", ["ada-1"]).revision
        other.forget_events("ada", ["ada-1"])
        before = states(client)
    with running_server(load_settings(settings), HashEncoder()) as address, Client(address) as client:
        assert states(client) == states(other) == before
        assert [client.get_user(user_id).revision for user_id in USER_IDS] == [last, *revisions[1:]]
        assert client.update_user("ada", [Event(item_id="i1")]).revision > last


def test_who_has_no_event_left_is_unknown(hash_server):
    """As one who never had any: not found, and not counted; a first event makes the user anew."""
    client = hash_server.client
    client.update_user("ada", [Event(event_id="1", item_id="a"), Event(event_id="2", text="tents")])
    answer = client.forget_events("ada", ["1", "2"])
    assert answer.forgotten_count == 2
    assert client.get_server_info().user_count == 0
    for call in (client.get_user, client.delete_user, lambda user: client.forget_events(user, ["1"])):
        with pytest.raises(NotFoundError, match="'ada' has no events"):
            call("ada")
    for call in (client.list_events, client.export_user):
        with pytest.raises(NotFoundError, match="'ada' has no events"):
            list(call("ada"))
    assert client.recommend("ada").revision == 0
    assert client.update_user("ada", [Event(event_id="1", item_id="a")]).revision > answer.revision
    assert client.get_user("ada").event_count == 1


def test_forgetting_is_a_change_like_another(hash_server):
    """It has a revision of its own, which min_revision waits for; where nothing is forgotten nothing changes."""
    client = hash_server.client
    updated = client.update_user("ada", [Event(event_id="1", text="tents"), Event(event_id="2", text="boats")])
    forgotten = client.forget_events("ada", ["1", "1", "unknown"])
    assert forgotten.forgotten_count == 1
    assert forgotten.revision > updated.revision
    assert client.get_user("ada").revision == forgotten.revision
    assert client.recommend("ada", min_revision=forgotten.revision).revision == forgotten.revision
    again = client.forget_events("ada", ["1", "unknown"])
    assert (again.forgotten_count, again.revision) == (0, forgotten.revision)
    assert client.update_user("bea", [Event(text="tents")]).revision > forgotten.revision


def test_forgetting_checks_its_request(hash_server):
    """1-256 ids of 1-256 bytes."""
    for event_ids, field in [([], "event_ids"), (["e"] * 257, "event_ids"), (["e", ""], "event_ids[1]")]:
        with pytest.raises(recwire.InvalidArgumentError) as raised:
            hash_server.client.forget_events("ada", event_ids)
        assert [violation.field for violation in raised.value.violations] == [field]


@pytest.mark.parametrize("client_class", [recwire.Client, recwire.AsyncClient])
def test_events_are_shown_in_order(hash_server, client_class):
    """Listed, the last recorded first, whenever they happened; exported, as they happened. Over several messages."""
    numbers = random.Random(1).sample(range(1_000), 330)
    sent = [
        Event(
            event_id=f"e{number}",
            text=f"text {number}",
            type=EventType.EVENT_TYPE_LIKE,
            event_time=Timestamp(seconds=T0_S + number),
            recommendation_id=f"r{number}",
        )
        for number in numbers
    ]
    with Caller(client_class, hash_server.address) as call:
        for start in (0, 110, 220):
            call("update_user", "ada", sent[start : start + 110])
        listed, exported = call("list_events", "ada"), call("export_user", "ada")
    assert [one.event for one in listed] == sent[::-1]
    assert [one.event for one in exported] == sorted(sent, key=lambda event: event.event_time.seconds)
    assert {(one.effective_weight, one.pending) for one in listed} == {(2.0, False)}
    assert sorted(listed, key=lambda one: one.event.event_time.seconds) == exported
    with grpc.insecure_channel(hash_server.address) as channel:
        messages = list(UserServiceStub(channel).ExportUser(ExportUserRequest(user_id="ada"), timeout=20))
    assert len(messages) == 6


def test_events_are_listed_in_pages(hash_server):
    """Of the size that was asked for; an event that comes in between shifts no page."""
    client = hash_server.client
    client.update_user("ada", [Event(event_id=f"e{n}", item_id="i1") for n in range(5)])
    with grpc.insecure_channel(hash_server.address) as channel:
        stub = UserServiceStub(channel)
        pages, token = [], ""
        while True:
            page = stub.ListEvents(ListEventsRequest(user_id="ada", page_size=2, page_token=token), timeout=20)
            pages.append(in_time(page.events))
            client.update_user("ada", [Event(item_id="i1")])
            token = page.next_page_token
            if not token:
                break
        for bad in ("?", *(b64encode(text).decode() for text in (b"e1", b"-1", b"9" * 19, b"9" * 5_000))):
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                stub.ListEvents(ListEventsRequest(user_id="ada", page_token=bad), timeout=20)
    assert pages == [["e4", "e3"], ["e2", "e1"], ["e0"]]


def test_large_events_end_a_page_early(hash_server):
    """Pages, and messages of an export, fit into what every gRPC client takes: 4 MiB."""
    client = hash_server.client
    texts = [f"{n} " + "x" * 32_000 for n in range(200)]
    for start in range(0, 200, 100):
        client.update_user("ada", [Event(text=text) for text in texts[start : start + 100]])
    with grpc.insecure_channel(hash_server.address) as channel:
        stub = UserServiceStub(channel)
        page = stub.ListEvents(ListEventsRequest(user_id="ada", page_size=1_000), timeout=20)
        exported = [
            one.event.text
            for message in stub.ExportUser(ExportUserRequest(user_id="ada"), timeout=20)
            for one in message.events
        ]
    assert 0 < len(page.events) < 200
    assert page.next_page_token
    assert [one.event.text for one in client.list_events("ada")] == texts[::-1]
    assert exported == texts


def test_a_text_is_no_repeat_of_the_item_with_its_name(start_two):
    """Within the window of repeats, an event on item "tents" and a search for tents both count."""
    client, other = start_two(repeat_window_s=60.0)
    for one in (client, other):
        one.upsert_items([Item(item_id="tents", texts=["boats"])])
    client.update_user("ada", [Event(item_id="tents"), Event(text="tents"), Event(text="tents")])
    other.update_user("ada", [Event(item_id="tents"), Event(text="tents")])
    other.update_user("bea", [Event(item_id="tents")])
    assert client.get_user("ada").vector == other.get_user("ada").vector != other.get_user("bea").vector


def test_states_are_as_replayed_whatever_happens_at_once(start_server):
    """After updates, forgetting and changes of items from many threads, no user's state differs from a replay."""
    client = start_server(
        decay_per_event=0.7, max_history_events=20, user_cache_bytes=400_000, repeat_window_s=DAY_S
    ).client
    client.upsert_items([item(item_id) for item_id in ITEM_IDS])
    users = [f"user {number}" for number in range(25)]

    def update(seed: int) -> None:
        source = random.Random(seed)
        for _ in range(60):
            user_id = source.choice(users)
            events = source.sample(events_of(user_id, 60), 5)
            client.update_user(user_id, events)

    def forget(seed: int) -> None:
        source = random.Random(seed)
        for _ in range(60):
            user_id = source.choice(users)
            try:
                client.forget_events(user_id, [f"{user_id}-{number}" for number in source.sample(range(60), 10)])
            except NotFoundError:
                continue

    def change(seed: int) -> None:
        source = random.Random(seed)
        for version in range(40):
            client.upsert_items([item(source.choice([*ITEM_IDS, PENDING_ID]), version)])
            client.delete_items([source.choice(ITEM_IDS)])
            assert differing_users(client) == []

    with ThreadPoolExecutor(6) as threads:
        for work in [
            threads.submit(function, seed)
            for seed, function in enumerate([update, update, update, forget, forget, change])
        ]:
            work.result()
    assert differing_users(client) == []
    assert list(client.check_users())[-1].checked_count == client.get_server_info().user_count


@pytest.mark.parametrize(
    "events_a_message",
    [5, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])],
    ids=["5 events a message", "one by one"],
)
def test_clients_at_once_make_what_one_makes(tmp_path, start_server, events_a_message):
    """1,000 users with 100 events each, sent over 8 streams at once: every state and history is that of a server which
    got each user's events in one go, in their order; and none differs from a replay."""
    rules = {"decay_per_event": 0.9, "decay_half_life_s": 20.0 * DAY_S, "max_history_events": 60}
    users = {user_id: events_of(user_id, 100) for user_id in (f"user {number}" for number in range(1_000))}
    settings = load_settings({"data_dir": tmp_path / "one by one", "listen": "127.0.0.1:0", **rules})
    with running_server(settings, HashEncoder()) as address, Client(address) as client:
        client.upsert_items([item(item_id) for item_id in ITEM_IDS])
        list(client.update_user_stream(UserUpdate(user_id, events) for user_id, events in users.items()))
        expected = {user_id: client.get_user(user_id).vector for user_id in users}
        assert differing_users(client) == []

    client = start_server(**rules).client
    client.upsert_items([item(item_id) for item_id in ITEM_IDS])

    def send(updates: list[UserUpdate]) -> None:
        assert not any(outcome.error for outcome in client.update_user_stream(updates))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, dealt(users, events_a_message, stream_count=8)))
    assert {user_id: client.get_user(user_id).vector for user_id in users} == expected
    for user_id, events in users.items():
        assert [one.event for one in client.export_user(user_id)] == events
    assert differing_users(client) == []


def dealt(users: dict[str, list[Event]], events_a_message: int, stream_count: int) -> list[list[UserUpdate]]:
    """Each stream's share of the users' events: of all users in turn, and those of one user now and then too late."""
    source = random.Random(3)
    places = {
        (start + source.uniform(0, 15), user_id): UserUpdate(user_id, events[start : start + events_a_message])
        for user_id, events in users.items()
        for start in range(0, len(events), events_a_message)
    }
    updates = [places[place] for place in sorted(places)]
    return [updates[number::stream_count] for number in range(stream_count)]
