"""A visitor without a stored user: what they did comes with the question."""

from recwire import Event, Item, SeenPolicy

ITEMS = [Item(item_id=item_id, texts=[f"a text on {item_id}"]) for item_id in ("tents", "boots", "cars")]
INCLUDE = SeenPolicy.SEEN_POLICY_INCLUDE


def test_the_same_session_gets_the_same_answer(hash_server):
    """Explanations too: an event without an id is named by its place."""
    client = hash_server.client
    client.upsert_items(ITEMS)
    session = [Event(item_id="tents"), Event(event_id="mine", text="boots"), Event(text="a car")]
    answer, again = (client.recommend(session=session, explain=True, seen=INCLUDE) for _ in range(2))
    assert answer == again
    for recommendation in answer.recommendations:
        event_ids = [contribution.event_id for contribution in recommendation.contributions]
        assert event_ids == ["session.events[0]", "mine", "session.events[2]"]


def test_an_event_can_be_ignored_by_its_place(hash_server):
    """As though it had not happened."""
    client = hash_server.client
    client.upsert_items(ITEMS)
    session = [Event(item_id="tents"), Event(text="boots")]
    without = client.recommend(session=session, ignore_event_ids=["session.events[1]"], seen=INCLUDE)
    assert without.recommendations == client.recommend(session=session[:1], seen=INCLUDE).recommendations


def test_the_same_event_twice_counts_once(hash_server):
    """The first of those with one id, as with a stored user."""
    client = hash_server.client
    client.upsert_items(ITEMS)
    once = [Event(event_id="1", item_id="tents"), Event(event_id="2", item_id="boots")]
    twice = [*once, Event(event_id="1", item_id="cars", weight=5)]
    assert client.recommend(session=twice, explain=True) == client.recommend(session=once, explain=True)
