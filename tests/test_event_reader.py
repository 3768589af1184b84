"""Rows as events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recwire.v1.event_pb2 import Event, EventType
from recwire_server.importing import LineError, UsageError
from recwire_server.importing.event import EventReader, RatingScale
from recwire_server.importing.source import Row

VIEW = {"user": "u", "item": "i", "type": "view", "timestamp": "10"}


def read(cells: dict[str, object], *mapped: str, scale: RatingScale | None = None) -> Event:
    return EventReader(mapped, scale).read(Row(1, cells)).event


def test_usual_names_need_no_mapping():
    """user, item, timestamp and value are known, and a value is a rating."""
    line = EventReader().read(Row(3, {"user": "429", "item": "150", "timestamp": "828124615", "value": "5.0"}))
    assert (line.line, line.user_id, line.event.item_id) == (3, "429", "150")
    assert line.event.type == EventType.EVENT_TYPE_RATE
    assert line.event.weight == 1
    assert line.event.event_time.seconds == 828_124_615


def test_movielens_ratings_are_known():
    """userId, movieId and rating are known."""
    event = read({"userId": "1", "movieId": "2", "rating": "0.5", "timestamp": "964982703"})
    assert (event.item_id, event.weight) == ("2", -1)


@given(st.floats(-1e6, 1e6), st.floats(0.1, 1e6), st.floats(0, 1))
def test_the_middle_of_the_scale_moves_nothing(low, width, share):
    """A rating weighs -1 at the scale's low end, 0 in its middle and 1 at its high end."""
    scale = RatingScale(low, low + width)
    rating = min(max(low + share * width, scale.low), scale.high)
    assert scale.weight("value", rating) == pytest.approx(2 * share - 1, abs=1e-5)


def test_a_rating_off_the_scale_is_refused():
    """A scale that was not given is better asked for than guessed."""
    with pytest.raises(LineError, match=r"value 7 is not between 0.5 and 5 .*--rating-scale"):
        read({"user": "u", "item": "i", "value": "7"})
    assert read({"user": "u", "item": "i", "value": "7"}, scale=RatingScale.parse("0:10")).weight == pytest.approx(0.4)


@pytest.mark.parametrize("text", ["5", "5:1", "a:b", "1:inf", ""])
def test_a_scale_is_written_low_to_high(text):
    """Anything else is a usage error."""
    with pytest.raises(UsageError, match="--rating-scale"):
        RatingScale.parse(text)


@pytest.mark.parametrize("name", ["add_to_cart", "AddToCart", "EVENT_TYPE_ADD_TO_CART", "addtocart"])
def test_a_type_is_known_by_the_contracts_name(name):
    """Case, underscores and the prefix do not matter."""
    assert read({"user": "u", "item": "i", "event": name}).type == EventType.EVENT_TYPE_ADD_TO_CART


def test_a_weight_is_taken_as_it_is():
    """It goes before what a rating would weigh."""
    event = read({"user": "u", "item": "i", "type": "like", "weight": "-2.5", "value": "5"})
    assert (event.type, event.weight) == (EventType.EVENT_TYPE_LIKE, -2.5)


def test_without_type_value_or_weight_the_server_decides():
    """The event's type and weight stay unset."""
    event = read({"user": "u", "item": "i"})
    assert event.type == EventType.EVENT_TYPE_UNSPECIFIED
    assert not event.HasField("weight")
    assert not event.HasField("event_time")


def test_a_text_is_the_subject_where_there_is_no_item():
    """One file may hold clicks and searches."""
    clicked = read({"user": "u", "item": "i", "query": "red shoes"})
    searched = read({"user": "u", "item": "", "query": "red shoes"})
    assert (clicked.WhichOneof("subject"), searched.text) == ("item_id", "red shoes")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user": ""}, "user is missing or empty"),
        ({"item": ""}, "item is missing or empty, and there is no text"),
        ({"type": "look"}, "type 'look' is not a type of event; the types are: view, click"),
        ({"timestamp": "abc"}, "timestamp 'abc' is not a number of seconds nor ISO 8601"),
        ({"value": "much"}, "value 'much' is not a number"),
    ],
)
def test_a_row_that_is_no_event_is_refused_with_the_reason(change, reason):
    """The reason names the file's own column."""
    with pytest.raises(LineError, match=reason):
        read({**VIEW, **change})


def test_event_ids_are_the_same_in_every_run_and_different_within_one():
    """A user's rows that say the same are numbered; those that say something else have other ids."""
    rows = [VIEW, {**VIEW, "timestamp": "11"}, VIEW, {**VIEW, "user": "v"}, VIEW]
    first, again = EventReader(), EventReader()
    event_ids = [first.read(Row(1, row)).event.event_id for row in rows]
    assert event_ids == [again.read(Row(1, row)).event.event_id for row in rows]
    assert len({(row["user"], event_id) for row, event_id in zip(rows, event_ids, strict=True)}) == len(rows)
    assert event_ids[2] == f"{event_ids[0]}-2"


def test_event_ids_do_not_depend_on_how_the_file_is_written():
    """The same events in another format or order of columns are the same events."""
    table = read({"user": "u", "item": "7", "timestamp": "10"}).event_id
    assert table == read({"event_time": "1970-01-01T00:00:10Z", "item_id": 7, "user_id": "u"}).event_id


def test_an_event_id_column_is_taken_as_it_is():
    """The caller's own key wins."""
    assert read({**VIEW, "event_id": "mine"}).event_id == "mine"
