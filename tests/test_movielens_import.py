"""The importer's readers on a whole public data set."""

from pathlib import Path

import pytest

from recwire_server.importing.event import EventReader
from recwire_server.importing.item import ItemReader
from recwire_server.importing.source import Row, SourceFile


@pytest.fixture(scope="module")
def movielens() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "data" / "ml-latest-small"
    if not folder.exists():
        pytest.skip(f"no {folder}")
    return folder


def read_all(path: Path, reader: ItemReader | EventReader) -> list:
    with SourceFile(path) as source:
        if source.columns is not None:
            reader.check(source.columns)
        rows = list(source.rows())
    assert all(isinstance(row, Row) for row in rows)
    return [reader.read(row) for row in rows if isinstance(row, Row)]


def test_every_item_is_read(movielens):
    """All 9,742 movies have an id, a title and a text, with no mapping given."""
    items = [line.item for line in read_all(movielens / "items.jsonl.gz", ItemReader())]
    assert len({item.item_id for item in items}) == 9742
    assert all(item.title and item.texts for item in items)


def test_every_event_is_read(movielens):
    """All 100,836 ratings have a user, a time, a weight and an id of their own, with no mapping given."""
    lines = read_all(movielens / "interactions.tsv.gz", EventReader())
    assert len(lines) == 100_836
    assert len({line.user_id for line in lines}) == 610
    assert len({line.event.event_id for line in lines}) == 100_836
    assert all(-1 <= line.event.weight <= 1 and line.time_ns for line in lines)
