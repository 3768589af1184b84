"""The main job, with the default model over gRPC: what users do decides what they get next."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from conftest import RunningServer

from recwire import (
    Client,
    EmbedPurpose,
    Event,
    EventType,
    FailedPreconditionError,
    InvalidArgumentError,
    Item,
    NotFoundError,
    RecommendOptions,
    RecommendResponse,
    SeenPolicy,
    Strategy,
    from_bytes,
)
from recwire.v1.recommender_service_pb2 import UpdateUserRequest
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub

BOOKS = [
    Item(item_id="scifi", texts=["A thrilling science fiction novel set in the future."]),
    Item(item_id="car", texts=["A guide to electric car maintenance."]),
    Item(item_id="hiking", texts=["A guide to hiking trails in the mountains."]),
]
USERS = {
    "scifi": "I like to read science fiction books.",
    "car": "I recently bought an electric car.",
    "hiking": "I enjoy hiking and outdoor activities.",
}
FILMS = [
    Item(item_id="alien", title="Alien", texts=["A crew meets a creature in space.", "Horror | Sci-Fi"]),
    Item(item_id="heat", title="Heat", texts=["Heat", "A detective hunts a thief in Los Angeles."]),
]
CATALOGUE = [*BOOKS, *FILMS]
PIECES = {
    "scifi": list(BOOKS[0].texts),
    "car": list(BOOKS[1].texts),
    "hiking": list(BOOKS[2].texts),
    "alien": ["Alien", *FILMS[0].texts],
    "heat": list(FILMS[1].texts),
}
EVENTS = [
    Event(event_id="1", item_id="car"),
    Event(event_id="2", item_id="alien"),
    Event(event_id="3", text="mountains without end"),
    Event(event_id="4", item_id="heat"),
    Event(event_id="5", text="robots"),
]


@pytest.fixture
def client(minilm_server: RunningServer) -> Client:
    """A client of a server with default settings and the catalogue."""
    minilm_server.client.upsert_items(CATALOGUE)
    return minilm_server.client


@pytest.fixture
def plain_client(start_server, int8_encoder) -> Client:
    """A client of a server with the catalogue, no decay and the plain space."""
    server = start_server(int8_encoder, vector_space="plain", decay_per_event=1.0)
    server.client.upsert_items(CATALOGUE)
    return server.client


def item_vector(client: Client, item_id: str) -> np.ndarray:
    """The mean of the embeddings of an item's pieces, each embedded alone."""
    purpose = EmbedPurpose.EMBED_PURPOSE_DOCUMENT
    pieces = [client.embed([piece], purpose=purpose).vectors[0] for piece in PIECES[item_id]]
    return np.mean(pieces, axis=0, dtype=np.float64)


def event_vectors(client: Client, events: Sequence[Event]) -> np.ndarray:
    """(events, dim): what each event's subject is embedded as."""
    return np.stack(
        [
            item_vector(client, event.item_id) if event.item_id else client.embed([event.text]).vectors[0]
            for event in events
        ]
    ).astype(np.float64)


def order(answer: RecommendResponse) -> list[str]:
    return [recommendation.item_id for recommendation in answer.recommendations]


@pytest.mark.parametrize("user_id", USERS)
def test_each_user_gets_their_own_item_first(client, user_id):
    """Of three users with one interest each, each is recommended the book about it first."""
    client.delete_items(["alien", "heat"])
    for name, text in USERS.items():
        client.update_user(name, [Event(text=text)])
    answer = client.recommend(user_id)
    assert order(answer)[0] == user_id
    assert answer.recommendations[0].strategy == Strategy.STRATEGY_PERSONALIZED
    assert order(client.recommend(session=[Event(text=USERS[user_id])])) == order(answer)


def test_a_users_vector_is_the_mean_of_the_events(plain_client):
    """Items count as the mean of their pieces' document embeddings, texts as their query embeddings."""
    plain_client.update_user("ada", EVENTS)
    vector = from_bytes(plain_client.get_user("ada").vector)
    expected = event_vectors(plain_client, EVENTS).mean(axis=0)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-6)


def test_a_users_vector_is_the_same_event_by_event(plain_client):
    """It makes no difference whether events come in one call or in several."""
    plain_client.update_user("at once", EVENTS)
    for event in EVENTS:
        plain_client.update_user("one by one", [event])
    assert plain_client.get_user("one by one").vector == plain_client.get_user("at once").vector


def test_scores_are_dot_products(plain_client):
    """Every score is the inner product of the user's vector and the item's."""
    plain_client.update_user("ada", EVENTS)
    answer = plain_client.recommend("ada", seen=SeenPolicy.SEEN_POLICY_INCLUDE)
    user = event_vectors(plain_client, EVENTS).mean(axis=0)
    expected = {item_id: float(user @ item_vector(plain_client, item_id)) for item_id in PIECES}
    assert {r.item_id: r.score for r in answer.recommendations} == pytest.approx(expected, abs=1e-5)
    assert order(answer) == sorted(expected, key=lambda item_id: -expected[item_id])


@pytest.mark.parametrize("target", [{"user_id": "ada"}, {"session": EVENTS}], ids=["user", "session"])
def test_contributions_add_up_to_the_score(plain_client, target):
    """Each event's contribution is its share of the score, and together they are the score."""
    plain_client.update_user("ada", EVENTS)
    answer = plain_client.recommend(**target, explain=True, seen=SeenPolicy.SEEN_POLICY_INCLUDE)
    vectors = event_vectors(plain_client, EVENTS)
    assert len(answer.recommendations) == len(CATALOGUE)
    for recommendation in answer.recommendations:
        shares = vectors @ item_vector(plain_client, recommendation.item_id) / len(EVENTS)
        contributions = recommendation.contributions
        assert [c.event_id for c in contributions] == [event.event_id for event in EVENTS]
        assert [c.item_id for c in contributions] == [event.item_id for event in EVENTS]
        assert [c.value for c in contributions] == pytest.approx(shares.tolist(), abs=1e-5)
        assert sum(c.value for c in contributions) == pytest.approx(recommendation.score, abs=1e-5)


def test_weights_and_decay_shape_the_mean(start_server, int8_encoder):
    """With decay g, an event's weight counts g to the power of the moving events after it; so do contributions."""
    client = start_server(int8_encoder, vector_space="plain", decay_per_event=0.5).client
    client.upsert_items(CATALOGUE)
    weights = [3.0, 1.0, 0.0, -1.0, 2.0]
    events = [Event(event_id=e.event_id, item_id=e.item_id or None, text=e.text or None) for e in EVENTS]
    for event, weight in zip(events, weights, strict=True):
        event.weight = weight
    client.update_user("ada", events[:2])
    client.update_user("ada", events[2:])
    shares = np.array([3 / 8, 1 / 4, 0, -1 / 2, 2])
    expected = shares @ event_vectors(client, EVENTS) / np.abs(shares).sum()
    np.testing.assert_allclose(from_bytes(client.get_user("ada").vector), expected, rtol=0, atol=1e-6)
    for recommendation in client.recommend("ada", explain=True).recommendations:
        assert sum(c.value for c in recommendation.contributions) == pytest.approx(recommendation.score, abs=1e-5)


def test_an_acknowledged_event_changes_the_next_answer(client):
    """As soon as an event is acknowledged, what it was on is left out and the rest is ordered by it."""
    assert client.recommend("ada").recommendations[0].strategy != Strategy.STRATEGY_PERSONALIZED
    seen = set()
    for item_id in ["car", "scifi", "heat", "hiking"]:
        revision = client.update_user("ada", [Event(item_id=item_id)]).revision
        seen.add(item_id)
        answer = client.recommend("ada")
        assert answer.revision == revision
        assert set(order(answer)) == set(PIECES) - seen
        assert answer.recommendations[0].strategy == Strategy.STRATEGY_PERSONALIZED


def test_an_event_on_an_unknown_item_counts_once_the_item_arrives(client):
    """It is kept as pending, moves nobody, and then moves the user without being sent again."""
    update = client.update_user("ada", [Event(item_id="car"), Event(item_id="later")])
    assert list(update.pending_item_ids) == ["later"]
    client.update_user("bea", [Event(item_id="car")])
    assert client.get_user("ada").vector == client.get_user("bea").vector
    client.upsert_items([Item(item_id="later", texts=["Hiking in the hills with a tent"])])
    client.update_user("cleo", [Event(item_id="car"), Event(item_id="later")])
    assert client.get_user("ada").vector == client.get_user("cleo").vector != client.get_user("bea").vector


def test_the_same_event_sent_twice_counts_once(client):
    """A resent event is named as a duplicate and changes neither the user nor what is popular."""
    event = Event(event_id="only", item_id="car")
    first = client.update_user("ada", [event])
    before, popular = client.get_user("ada"), client.recommend("nobody", explain=True)
    again = client.update_user("ada", [event])
    assert (again.applied_count, list(again.duplicate_event_ids), again.revision) == (0, ["only"], first.revision)
    assert client.get_user("ada") == before
    assert client.recommend("nobody", explain=True) == popular


def test_the_same_event_twice_in_one_call_counts_once(client):
    """The second of them is the duplicate."""
    event = Event(event_id="only", text="robots")
    update = client.update_user("ada", [event, Event(event_id="other", item_id="car"), event])
    assert (update.applied_count, list(update.duplicate_event_ids)) == (2, ["only"])
    assert client.get_user("ada").event_count == 2


def test_the_same_event_from_many_threads_counts_once(client):
    """Of calls at the same time with the same events, each event is applied by one."""
    events = [Event(event_id=str(n), item_id="car") for n in range(10)]
    with ThreadPoolExecutor(8) as threads:
        updates = list(threads.map(lambda _: client.update_user("ada", events), range(8)))
    assert sum(update.applied_count for update in updates) == 10
    assert sum(len(update.duplicate_event_ids) for update in updates) == 70
    assert client.get_user("ada").event_count == 10


def test_event_ids_belong_to_a_user(client):
    """Two users may send the same event_id."""
    assert client.update_user("ada", [Event(event_id="1", item_id="car")]).applied_count == 1
    assert client.update_user("bea", [Event(event_id="1", item_id="heat")]).applied_count == 1


@pytest.mark.parametrize(
    "bad",
    [Event(event_id="bad"), Event(item_id="car", weight=float("nan")), Event(text=" "), Event(vector=b"\0\0\0\0")],
    ids=["no subject", "weight", "text", "dimension"],
)
def test_one_bad_event_stops_all(client, bad):
    """Of a call with a bad event among good ones nothing is applied, and the good ones can be sent anew."""
    good = [Event(event_id="1", item_id="car"), Event(event_id="2", text="robots")]
    popular = client.recommend("nobody", explain=True)
    with pytest.raises((InvalidArgumentError, FailedPreconditionError)) as raised:
        client.update_user("ada", [good[0], bad, good[1]])
    assert all(violation.field.startswith("events[1]") for violation in raised.value.violations)
    with pytest.raises(NotFoundError):
        client.get_user("ada")
    assert client.recommend("nobody", explain=True) == popular
    assert client.update_user("ada", good).applied_count == 2


def test_an_update_can_bring_the_next_answer(client):
    """The recommendations that come with an update count its events, and are those that would come next."""
    options = RecommendOptions(limit=3, explain=True)
    update = client.update_user("ada", EVENTS[:2], recommend=options)
    assert update.recommendation == client.recommend("ada", limit=3, explain=True)
    assert update.recommendation.revision == update.revision
    assert set(order(update.recommendation)).isdisjoint({"car", "alien"})


def test_min_revision_waits_for_the_state(client):
    """A call that asks for a state to come is answered once it is there, with it."""
    revision = client.update_user("ada", [Event(item_id="car")]).revision
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.recommend, "ada", min_revision=revision + 1, timeout_s=30)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        update = client.update_user("ada", [Event(item_id="alien", type=EventType.EVENT_TYPE_LIKE)])
        answer = waiting.result(timeout=10)
    assert answer.revision == update.revision == revision + 1
    assert "alien" not in order(answer)


def test_min_revision_that_does_not_come_is_refused(client):
    """Within the deadline, the caller hears that the revision is not there."""
    revision = client.update_user("ada", [Event(item_id="car")]).revision
    with pytest.raises(FailedPreconditionError) as raised:
        client.recommend("ada", min_revision=revision + 1, timeout_s=0.5)
    assert raised.value.reason == "REVISION_NOT_REACHED"


def test_an_update_whose_caller_gave_up_counts_in_full(hash_server):
    """An event that was stored after its caller had gone counts for what is popular too; resent, it counts once."""
    hash_server.client.upsert_items([Item(item_id="a", texts=["one"]), Item(item_id="b", texts=["two"])])
    requests = [UpdateUserRequest(user_id=f"u{n}", events=[Event(event_id="1", item_id="a")]) for n in range(300)]
    random = np.random.default_rng(0)
    with grpc.insecure_channel(hash_server.address) as channel:
        stub = RecommenderServiceStub(channel)
        stub.UpdateUser(requests[0])  # connected
        calls = [stub.UpdateUser.future(r, timeout=float(random.uniform(0, 0.1))) for r in requests[1:]]
        given_up = [call.code() is grpc.StatusCode.DEADLINE_EXCEEDED for call in calls]
        assert any(given_up)
        updates = [stub.UpdateUser(request) for request in requests]
    assert any(update.applied_count == 0 for update in updates)
    for start in (0, 150):
        hash_server.client.update_user("b", [Event(event_id=str(start + n), item_id="b") for n in range(150)])
    shares = {r.item_id: r.score for r in hash_server.client.recommend("nobody").recommendations}
    assert shares == {"a": 1.0, "b": 1.0}
