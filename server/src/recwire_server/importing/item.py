"""A row into an item."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from recwire.v1.item_pb2 import AttributeValue, Item, StringSet
from recwire_server.importing import LineError
from recwire_server.importing.cell import (
    is_empty,
    parse_id,
    parse_labels,
    parse_number,
    parse_text,
    parse_texts,
    parse_time_ns,
)
from recwire_server.importing.column import ATTRIBUTE_PREFIX, ColumnMap, FieldNames, Layout
from recwire_server.importing.source import Row

ITEM_FIELDS = FieldNames(
    usual={
        "item_id": [
            "item_id",
            "item",
            "id",
            "movie_id",
            "product_id",
            "article_id",
            "video_id",
            "book_id",
            "sku",
            "asin",
        ],
        "title": ["title", "name", "headline"],
        "text": ["text", "texts", "description", "abstract", "summary", "body"],
        "publish_time": ["publish_time", "published_at"],
        "expire_time": ["expire_time", "expires_at"],
    },
    several=["text"],
    attributes=True,
)
LABEL_COLUMNS = frozenset({"categories", "genres", "tags", "labels", "keywords"})
MOVIELENS_COLUMNS = ("movieId", "title", "genres")
YEAR_IN_TITLE = re.compile(r"\((\d{4})\)\s*$")  # MovieLens: Toy Story (1995)


@dataclass(slots=True)
class ItemLine:
    """An item and the line that it comes from."""

    line: int
    item: Item


class ItemReader:
    """Makes items of rows.

    Columns that give no field become attributes: as labels those in `labels` and those usually so named, as
    numbers those in `numbers`; otherwise JSON's values keep their kind and a table's cells are texts. Those
    in `ignored` are left out, as are empty cells.
    """

    def __init__(
        self,
        mapped: Iterable[str] = (),
        numbers: Iterable[str] = (),
        labels: Iterable[str] = (),
        ignored: Iterable[str] = (),
    ) -> None:
        self._numbers, self._labels, self._ignored = frozenset(numbers), frozenset(labels), frozenset(ignored)
        self.columns = ColumnMap(ITEM_FIELDS, mapped, self._numbers | self._labels | self._ignored)

    def check(self, header: Sequence[str]) -> None:
        """Raise UsageError unless items can be made of a table with this header."""
        self.columns.check(header, [["item_id"], ["title", "text"]])

    def read(self, row: Row) -> ItemLine:
        """Return the row's item; raises LineError if it has no id or a cell is not what its column holds."""
        layout = self.columns.layout(row.cells)
        column = layout.column("item_id")
        if column is None or is_empty(row.cells[column]):
            raise LineError(f"{column or 'item_id'} is missing or empty")
        item = Item(item_id=parse_id(column, row.cells[column]))
        title = layout.column("title")
        if title and not is_empty(row.cells[title]):
            item.title = parse_text(title, row.cells[title])
        for text in layout.fields.get("text", ()):
            item.texts.extend(parse_texts(text, row.cells[text]))
        self._set_time(item.publish_time, layout.column("publish_time"), row)
        self._set_time(item.expire_time, layout.column("expire_time"), row)
        self._set_attributes(item, layout, row)
        return ItemLine(row.line, item)

    def _set_time(self, time: Timestamp, column: str | None, row: Row) -> None:
        if column and not is_empty(row.cells[column]):
            time.FromNanoseconds(parse_time_ns(column, row.cells[column]))

    def _set_attributes(self, item: Item, layout: Layout, row: Row) -> None:
        for field, (column, *_) in layout.fields.items():
            if field.startswith(ATTRIBUTE_PREFIX):
                self._set_attribute(item, field.removeprefix(ATTRIBUTE_PREFIX), column, row.cells[column])
        for column in layout.rest:
            cell = row.cells[column]
            if column == "attributes" and isinstance(cell, dict):
                for name, value in cell.items():
                    self._set_attribute(item, name, name, value)
            else:
                self._set_attribute(item, column, column, cell)
        if tuple(row.cells) == MOVIELENS_COLUMNS and (year := YEAR_IN_TITLE.search(item.title)):
            item.attributes["year"].number = float(year[1])

    def _set_attribute(self, item: Item, name: str, column: str, cell: object) -> None:
        if not is_empty(cell) and column not in self._ignored:
            item.attributes[name].CopyFrom(self._attribute(column, cell))

    def _attribute(self, column: str, cell: object) -> AttributeValue:
        if column in self._numbers:
            return AttributeValue(number=parse_number(column, cell))
        if column in self._labels or column.casefold() in LABEL_COLUMNS or isinstance(cell, list):
            return AttributeValue(labels=StringSet(values=parse_labels(column, cell)))
        if isinstance(cell, bool):
            return AttributeValue(flag=cell)
        if isinstance(cell, str):
            return AttributeValue(text=parse_text(column, cell))
        if isinstance(cell, dict):
            raise LineError(f"{column} holds an object, which is no attribute (leave it out with --ignore {column})")
        return AttributeValue(number=parse_number(column, cell))
