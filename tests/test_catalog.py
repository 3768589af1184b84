"""The catalogue: what is acknowledged is durable, recommendable at once, and comes back as it was sent."""

from collections.abc import Sequence

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from recwire import AttributeValue, Event, Item, NotFoundError, StringSet, from_bytes, to_bytes
from recwire.v1.catalog_service_pb2 import ImportItemsRequest, ListItemsRequest
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceStub
from recwire_server.encoder import Purpose, TokenizedText
from recwire_server.testing import HashEncoder

PAST, FUTURE = Timestamp(seconds=1_000_000_000), Timestamp(seconds=4_000_000_000)


class CountingEncoder(HashEncoder):
    """Counts the texts that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        self.texts.extend(texts)
        return super().tokenize(texts, purpose)


def order(answer) -> list[str]:
    return [recommendation.item_id for recommendation in answer.recommendations]


def test_an_item_comes_back_as_it_was_sent(hash_server):
    """Every field, and every kind of attribute."""
    item = Item(
        item_id="läмп-灯",
        title="A lamp",
        texts=["A lamp", "Bright \u0000 and small 🕯"],
        attributes={
            "brand": AttributeValue(text=""),
            "price": AttributeValue(number=-0.1),
            "whole": AttributeValue(number=3),
            "sold": AttributeValue(flag=False),
            "rooms": AttributeValue(labels=StringSet(values=["b", "a", "b"])),
            "none": AttributeValue(labels=StringSet()),
        },
        vector=to_bytes(np.linspace(-1, 1, 32)),
        publish_time=Timestamp(seconds=1_600_000_000, nanos=123_456_789),
        expire_time=Timestamp(seconds=-5, nanos=1),
    )
    hash_server.client.upsert_items([item])
    assert hash_server.client.get_item("läмп-灯") == item


def test_the_last_of_several_with_one_id_wins(hash_server):
    """In one call and from call to call."""
    client = hash_server.client
    client.upsert_items([Item(item_id="1", title="a"), Item(item_id="1", title="b")])
    assert client.get_item("1").title == "b"
    client.upsert_items([Item(item_id="1", title="c")])
    assert client.get_item("1").title == "c"
    assert client.get_server_info().item_count == 1


def test_every_change_grows_the_revision(hash_server):
    """Of upserts and deletions alike."""
    client = hash_server.client
    first = client.upsert_items([Item(item_id="1", title="a")])
    second = client.upsert_items([Item(item_id="1", title="b")])
    third = client.delete_items(["1", "nope"])
    assert first.catalog_revision < second.catalog_revision < third.catalog_revision
    assert (first.upserted_count, third.deleted_count) == (1, 1)


def test_items_are_listed_in_the_order_of_their_ids_bytes(hash_server):
    """A page at a time, each item once, deleted ones not."""
    item_ids = ["a", "B", "é", "z", "灯", "🕯", "10", "9"]
    hash_server.client.upsert_items([Item(item_id=item_id, title="t") for item_id in item_ids])
    hash_server.client.delete_items(["z"])
    with grpc.insecure_channel(hash_server.address) as channel:
        stub, token, pages = CatalogServiceStub(channel), "", []
        while True:
            page = stub.ListItems(ListItemsRequest(page_size=3, page_token=token))
            pages.append([item.item_id for item in page.items])
            token = page.next_page_token
            if not token:
                break
    assert [item_id for page in pages for item_id in page] == sorted(set(item_ids) - {"z"}, key=str.encode)
    assert [len(page) for page in pages] == [3, 3, 1]


def test_a_page_fits_into_a_message(hash_server):
    """Large items make a page end early; none is left out."""
    for number in range(5):
        large = Item(item_id=str(number), texts=["word " * 6_000] * 40, vector=to_bytes(np.ones(32)))
        hash_server.client.upsert_items([large])
    assert [item.item_id for item in hash_server.client.list_items()] == list("01234")


def test_an_import_names_what_is_wrong_and_takes_the_rest(hash_server):
    """Each message is answered by its progress and the errors of its items."""
    good = [Item(item_id=str(n), title="t") for n in range(4)]
    bad = [Item(item_id="x"), Item(item_id="", title="t"), Item(item_id="y", vector=b"\0\0\0\1")]
    requests = [
        ImportItemsRequest(items=[good[0], bad[0], good[1], bad[1]]),
        ImportItemsRequest(),
        ImportItemsRequest(items=[*good[2:], bad[2]]),
    ]
    with grpc.insecure_channel(hash_server.address) as channel:
        answers = list(CatalogServiceStub(channel).ImportItems(iter(requests), timeout=10))
    assert [answer.imported_count for answer in answers] == [2, 2, 4]
    assert [[(e.item_id, e.field) for e in answer.errors] for answer in answers] == [
        [("x", "texts"), ("", "item_id")],
        [],
        [("y", "vector")],
    ]
    assert "32" in answers[2].errors[0].message
    assert [item.item_id for item in hash_server.client.list_items()] == list("0123")


def test_texts_that_did_not_change_are_not_encoded_again(start_server):
    """A re-import of the same catalogue with other attributes encodes nothing; a changed text is encoded."""
    encoder = CountingEncoder()
    client = start_server(encoder).client
    client.upsert_items([Item(item_id="1", title="a lamp", texts=["bright"]), Item(item_id="2", title="a kettle")])
    assert encoder.texts == ["a lamp", "bright", "a kettle"]
    encoder.texts.clear()
    client.upsert_items([Item(item_id="2", title="a kettle", attributes={"price": AttributeValue(number=1)})])
    client.upsert_items([Item(item_id="1", texts=["a lamp", "bright"])])
    assert encoder.texts == []
    client.upsert_items([Item(item_id="2", title="a pot")])
    assert encoder.texts == ["a pot"]


def test_an_items_own_vector_is_used_instead_of_its_texts(start_server):
    """It scores by its vector; nothing is encoded."""
    encoder = CountingEncoder()
    client = start_server(encoder).client
    own = np.eye(32, dtype=np.float32)[3] * 2
    client.upsert_items([Item(item_id="1", title="a lamp", vector=to_bytes(own))])
    assert encoder.texts == []
    assert client.recommend(vector=own).recommendations[0].score == pytest.approx(4.0)


def test_a_deleted_item_is_in_no_later_answer(hash_server):
    """Neither recommended, nor found, nor listed, nor a target; deleting it again counts nothing."""
    client = hash_server.client
    client.upsert_items([Item(item_id="1", title="lamp"), Item(item_id="2", title="lamp too")])
    assert client.delete_items(["1"]).deleted_count == 1
    assert order(client.recommend(text="lamp")) == ["2"]
    assert order(client.recommend("nobody")) == ["2"]
    assert client.delete_items(["1"]).deleted_count == 0
    for unknown in (lambda: client.get_item("1"), lambda: client.recommend(item_id="1")):
        with pytest.raises(NotFoundError):
            unknown()


def test_a_deleted_item_stays_in_histories_with_its_last_vector(hash_server):
    """The user does not move when it goes, nor does a new event on it count as pending."""
    client = hash_server.client
    client.upsert_items([Item(item_id="1", title="lamp"), Item(item_id="2", title="kettle")])
    client.update_user("ada", [Event(item_id="1"), Event(item_id="2", weight=0.3)])
    before = client.get_user("ada").vector
    client.delete_items(["1"])
    assert client.get_user("ada").vector == before
    update = client.update_user("bob", [Event(item_id="1"), Event(item_id="2", weight=0.3)])
    assert list(update.pending_item_ids) == []
    assert client.get_user("bob").vector == before


def test_a_changed_item_moves_the_users_who_have_it(hash_server):
    """Before their next answer, and exactly to where its new texts would have put them."""
    client = hash_server.client
    client.upsert_items([Item(item_id="1", title="lamp"), Item(item_id="2", title="kettle")])
    client.update_user("ada", [Event(item_id="1"), Event(item_id="2")])
    before = client.get_user("ada").vector
    client.upsert_items([Item(item_id="1", title="piano")])
    client.update_user("new", [Event(item_id="1"), Event(item_id="2")])
    assert client.get_user("ada").vector == client.get_user("new").vector != before


def test_an_event_on_an_item_to_come_counts_once_it_comes(hash_server):
    """It is kept, named as pending, counts as seen, and moves the user once the item is there."""
    client = hash_server.client
    client.upsert_items([Item(item_id="2", title="kettle")])
    update = client.update_user("ada", [Event(item_id="1", event_id="e")])
    assert list(update.pending_item_ids) == ["1"]
    user = client.get_user("ada")
    assert (user.event_count, user.seen_count, user.newest_events[0].pending) == (1, 1, True)
    assert not np.any(from_bytes(user.vector))
    client.upsert_items([Item(item_id="1", title="lamp")])
    user = client.get_user("ada")
    assert np.any(from_bytes(user.vector))
    assert not user.newest_events[0].pending
    assert order(client.recommend("ada")) == ["2"]


def test_items_are_recommended_between_their_times_only(hash_server):
    """Not before publish_time, not from expire_time on, whatever the target."""
    client = hash_server.client
    client.upsert_items(
        [
            Item(item_id="now", title="lamp", publish_time=PAST, expire_time=FUTURE),
            Item(item_id="later", title="lamp", publish_time=FUTURE),
            Item(item_id="over", title="lamp", expire_time=PAST),
        ]
    )
    client.update_user("ada", [Event(text="lamp")])
    for target in ({"user_id": "ada"}, {"user_id": "nobody"}, {"text": "lamp"}, {"item_id": "over"}):
        assert order(client.recommend(**target)) == ["now"]
    client.upsert_items([Item(item_id="over", title="lamp")])  # without its time
    assert set(order(client.recommend("ada"))) == {"now", "over"}
