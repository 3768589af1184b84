"""Rows as items."""

import pytest

from recwire.v1.item_pb2 import AttributeValue, Item, StringSet
from recwire_server.importing import LineError, UsageError
from recwire_server.importing.item import ItemReader
from recwire_server.importing.source import Row


def read(cells: dict[str, object], *mapped: str, **options: list[str]) -> Item:
    return ItemReader(mapped, **options).read(Row(1, cells)).item


def labels(*values: str) -> AttributeValue:
    return AttributeValue(labels=StringSet(values=values))


def test_usual_names_need_no_mapping():
    """id, title, text and categories are known."""
    item = read({"id": 7, "title": "Kettle", "text": "Boils water.", "categories": ["Kitchen", "Steel"]})
    assert item == Item(
        item_id="7",
        title="Kettle",
        texts=["Boils water."],
        attributes={"categories": labels("Kitchen", "Steel")},
    )


def test_movielens_movies_are_known():
    """genres become labels, and the year in the title a number."""
    item = read({"movieId": "1", "title": "Toy Story (1995)", "genres": "Adventure|Comedy"})
    assert item == Item(
        item_id="1",
        title="Toy Story (1995)",
        attributes={"genres": labels("Adventure", "Comedy"), "year": AttributeValue(number=1995)},
    )


def test_other_json_values_become_attributes_of_their_kind():
    """Strings, numbers, booleans and lists keep what they are; null and empty are not there."""
    item = read(
        {
            "id": "a",
            "name": "A",
            "price": 9.5,
            "new": True,
            "brand": "B",
            "sizes": ["S", "M"],
            "x": None,
            "y": "",
        }
    )
    assert dict(item.attributes) == {
        "price": AttributeValue(number=9.5),
        "new": AttributeValue(flag=True),
        "brand": AttributeValue(text="B"),
        "sizes": labels("S", "M"),
    }


def test_cells_of_tables_are_texts_unless_told_otherwise():
    """--number, --labels and --ignore say what a table cannot."""
    cells: dict[str, object] = {
        "id": "a",
        "title": "A",
        "zip": "01234",
        "price": "9.5",
        "for": "x|y",
        "note": "secret",
    }
    item = read(cells, numbers=["price"], labels=["for"], ignored=["note"])
    assert dict(item.attributes) == {
        "zip": AttributeValue(text="01234"),
        "price": AttributeValue(number=9.5),
        "for": labels("x", "y"),
    }


def test_mapping_names_fields_pieces_and_attributes():
    """A mapped column gives its field only, and several columns may be pieces of text."""
    item = read(
        {"code": "a", "label": "A", "short": "One.", "long": "Two.", "maker": "B"},
        *["item_id=code", "title=label", "text=short", "text=long", "attributes.brand=maker"],
    )
    assert item == Item(item_id="a", title="A", texts=["One.", "Two."], attributes={"brand": AttributeValue(text="B")})


def test_an_item_written_as_the_contract_has_it_is_known():
    """texts, attributes and publish_time mean what they mean in the API."""
    item = read(
        {
            "item_id": "a",
            "texts": ["One.", "Two."],
            "attributes": {"year": 1999},
            "publish_time": "1970-01-02",
        }
    )
    assert list(item.texts) == ["One.", "Two."]
    assert item.attributes["year"].number == 1999
    assert item.publish_time.seconds == 86_400


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"title": "A"}, "item_id is missing or empty"),
        ({"id": "", "title": "A"}, "id is missing or empty"),
        ({"id": 1.5}, "id 1.5 is not a text or a whole number"),
        ({"id": "a", "title": 3}, "title 3 is not a text"),
        ({"id": "a", "meta": {"x": 1}}, "--ignore meta"),
        ({"id": "a", "sizes": [1]}, "sizes 1 is not a text"),
    ],
)
def test_a_row_that_is_no_item_is_refused_with_the_reason(cells, reason):
    """The reason names the file's own column."""
    with pytest.raises(LineError, match=reason):
        read(cells)


@pytest.mark.parametrize(
    ("mapped", "header", "said"),
    [
        (
            ["nmae=title"],
            ["id", "title"],
            "one of: item_id, title, text, publish_time, expire_time, attributes.NAME",
        ),
        (["title=nmae"], ["id", "title"], "no column 'nmae' in the header; its columns are: id, title"),
        (["item_id=id", "item_id=title"], ["id", "title"], "item_id has one column"),
        ([], ["title", "price"], "no column for item_id"),
        ([], ["id", "price"], "no column for title or text"),
    ],
)
def test_an_unusable_mapping_is_a_usage_error(mapped, header, said):
    """The message lists what is there to choose from."""
    with pytest.raises(UsageError, match=said):
        ItemReader(mapped).check(header)
