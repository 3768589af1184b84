"""What somebody gets of whom nothing is known: what is popular, then what is new."""

import pytest

from recwire import Client, Event, Item, Strategy

POPULAR, RECENT = Strategy.STRATEGY_POPULAR, Strategy.STRATEGY_RECENT


def recommended(client: Client, user_id: str = "nobody", **options: object) -> list[tuple[str, float, int]]:
    answer = client.recommend(user_id, **options)
    return [(one.item_id, one.score, one.strategy) for one in answer.recommendations]


def test_the_new_come_last_written_first(hash_server):
    """Those of one call come by item id, in whatever order they were sent; a changed item is new again."""
    client = hash_server.client
    client.upsert_items([Item(item_id=item_id, texts=[item_id]) for item_id in ("b", "c", "a")])
    client.upsert_items([Item(item_id=item_id, texts=[item_id]) for item_id in ("e", "d")])
    client.upsert_items([Item(item_id="c", texts=["changed"])])
    assert recommended(client) == [(item_id, 0.0, RECENT) for item_id in ("c", "d", "e", "a", "b")]


def test_the_popular_come_before_the_new(hash_server):
    """Their scores are shares of what the most popular item has."""
    client = hash_server.client
    client.upsert_items([Item(item_id=item_id, texts=[item_id]) for item_id in ("a", "b", "c")])
    client.update_user("ada", [Event(item_id="b"), Event(item_id="c")])
    client.update_user("bea", [Event(item_id="c")])
    assert recommended(client) == [("c", 1.0, POPULAR), ("b", 0.5, POPULAR), ("a", 0.0, RECENT)]


def test_a_deleted_item_is_no_measure_of_popularity(hash_server):
    """The most popular of those that can be recommended has score 1."""
    client = hash_server.client
    client.upsert_items([Item(item_id=item_id, texts=[item_id]) for item_id in ("a", "b", "gone")])
    client.update_user("ada", [Event(item_id="gone")] * 4 + [Event(item_id="a")] * 2 + [Event(item_id="b")])
    client.delete_items(["gone"])
    assert recommended(client) == [("a", 1.0, POPULAR), ("b", 0.5, POPULAR)]


@pytest.mark.parametrize("weights", [(0.1, 0.2, -0.3), (1.0, 1e6, -1e6, -1.0)])
def test_events_that_cancel_out_leave_nothing_known(hash_server, weights):
    """Sums of weights such as .1 + .2 - .3 are not zero to a computer; what remains is noise and ranks nothing."""
    client = hash_server.client
    client.upsert_items([Item(item_id=item_id, texts=[f"a text on {item_id}"]) for item_id in ("a", "b", "c")])
    client.update_user("ada", [Event(text="tents", weight=weight) for weight in weights])
    assert {strategy for _, _, strategy in recommended(client, "ada")} == {RECENT}


def test_a_little_that_is_known_counts(hash_server):
    """A small weight beside large ones that cancel out is no noise."""
    client = hash_server.client
    client.upsert_items([Item(item_id=item_id, texts=[f"a text on {item_id}"]) for item_id in ("a", "b", "c")])
    events = [Event(text="tents", weight=1e3), Event(text="tents", weight=-1e3), Event(item_id="b", weight=1e-3)]
    client.update_user("ada", events)
    assert {strategy for _, _, strategy in recommended(client, "ada")} == {Strategy.STRATEGY_PERSONALIZED}
