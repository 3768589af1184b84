"""A row into an event."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

from recwire.v1.event_pb2 import Event, EventType
from recwire_server.importing import LineError, UsageError
from recwire_server.importing.cell import is_empty, parse_id, parse_number, parse_text, parse_time_ns
from recwire_server.importing.column import ColumnMap, FieldNames, Layout
from recwire_server.importing.source import Row

EVENT_FIELDS = FieldNames(
    usual={
        "user_id": ["user_id", "user", "uid", "visitor_id", "customer_id", "reviewer_id"],
        "item_id": [
            "item_id",
            "item",
            "movie_id",
            "product_id",
            "article_id",
            "video_id",
            "book_id",
            "sku",
            "asin",
        ],
        "text": ["text", "query", "search_query", "search_term"],
        "event_id": ["event_id"],
        "type": ["type", "event_type", "event", "action"],
        "weight": ["weight"],
        "value": ["value", "rating", "stars", "score"],
        "event_time": ["event_time", "timestamp", "time", "ts", "date", "datetime", "created_at"],
        "recommendation_id": ["recommendation_id"],
    },
)
TYPE_PREFIX = "eventtype"


@dataclass(slots=True)
class EventLine:
    """An event, its user and the line that it comes from. time_ns: None where the file gives no time."""

    line: int
    user_id: str
    time_ns: int | None
    event: Event


@dataclass(frozen=True)
class RatingScale:
    """The range of a file's ratings.

    A rating weighs `(rating - middle) / (half the range)`: the best 1, the middle 0 (it moves nothing), the
    worst -1 (it pushes away).
    """

    low: float = 0.5  # MovieLens' half stars
    high: float = 5.0

    def weight(self, column: str, rating: float) -> float:
        """Return the rating's weight, -1..1; raises LineError if it is not on the scale."""
        if not self.low <= rating <= self.high:
            raise LineError(
                f"{column} {rating:g} is not between {self.low:g} and {self.high:g}"
                " (say how the ratings go with --rating-scale)"
            )
        half = (self.high - self.low) / 2
        return (rating - self.low - half) / half

    @classmethod
    def parse(cls, text: str) -> "RatingScale":
        """Return the scale written LOW:HIGH; raises UsageError."""
        low, _, high = text.partition(":")
        try:
            scale = cls(parse_number("LOW", low), parse_number("HIGH", high))
        except LineError as error:
            raise UsageError(f"cannot use --rating-scale {text}: write LOW:HIGH, such as 1:5") from error
        if scale.low >= scale.high:
            raise UsageError(f"cannot use --rating-scale {text}: LOW must be less than HIGH")
        return scale


class EventReader:
    """Makes events of a file's rows, taken in the file's order.

    An event without an id gets one from what the row says and from how many rows before it say the same, so
    that importing a file again counts nothing twice. For that it remembers about 100 bytes a row.
    """

    def __init__(self, mapped: Iterable[str] = (), scale: RatingScale | None = None) -> None:
        self.columns = ColumnMap(EVENT_FIELDS, mapped)
        self._scale = scale or RatingScale()
        self._times_said: dict[int, int] = defaultdict(int)

    def check(self, header: Sequence[str]) -> None:
        """Raise UsageError unless events can be made of a table with this header."""
        self.columns.check(header, [["user_id"], ["item_id", "text"]])

    def read(self, row: Row) -> EventLine:
        """Return the row's event; raises LineError if it has no user, no subject, or an unusable cell."""
        layout = self.columns.layout(row.cells)
        user_id = _identifier(layout, row, "user_id")
        if not user_id:
            raise LineError(f"{layout.column('user_id') or 'user_id'} is missing or empty")
        event = Event(
            event_id=_identifier(layout, row, "event_id"),
            recommendation_id=_identifier(layout, row, "recommendation_id"),
        )
        self._set_subject(event, layout, row)
        self._set_type_and_weight(event, layout, row)
        time_ns = None
        column = layout.column("event_time")
        if column and not is_empty(row.cells[column]):
            time_ns = parse_time_ns(column, row.cells[column])
            event.event_time.seconds, event.event_time.nanos = divmod(time_ns, 10**9)
        if not event.event_id:
            event.event_id = self._new_id(user_id, time_ns, event)
        return EventLine(row.line, user_id, time_ns, event)

    def _set_subject(self, event: Event, layout: Layout, row: Row) -> None:
        item_id = _identifier(layout, row, "item_id")
        text = layout.column("text")
        if item_id:
            event.item_id = item_id
        elif text and not is_empty(row.cells[text]):
            event.text = parse_text(text, row.cells[text])
        else:
            raise LineError(f"{layout.column('item_id') or 'item_id'} is missing or empty, and there is no text")

    def _set_type_and_weight(self, event: Event, layout: Layout, row: Row) -> None:
        kind, value, weight = layout.column("type"), layout.column("value"), layout.column("weight")
        if value and not is_empty(row.cells[value]):
            event.weight = self._scale.weight(value, parse_number(value, row.cells[value]))
            event.type = EventType.EVENT_TYPE_RATE
        if weight and not is_empty(row.cells[weight]):
            event.weight = parse_number(weight, row.cells[weight])
        if kind and not is_empty(row.cells[kind]):
            event.type = _parse_type(kind, row.cells[kind])

    def _new_id(self, user_id: str, time_ns: int | None, event: Event) -> str:
        """Return an id for what the event says, the same in every run over the same file.

        The user is not in it: ids are told apart by user anyway, and in a server that keeps users under pseudonyms the
        rest of the row would let anybody try who it was.
        """
        subject = event.WhichOneof("subject") or ""
        weight = event.weight if event.HasField("weight") else None
        said = (subject, getattr(event, subject), event.type, weight, time_ns)
        digest = blake2b("".join(f"{len(str(part))}:{part}" for part in said).encode(), digest_size=16).digest()
        # 8 bytes are enough to count by: two rows that share them by chance still get different ids.
        key = int.from_bytes(blake2b(digest + user_id.encode(), digest_size=8).digest())
        before = self._times_said[key]
        self._times_said[key] = before + 1
        return f"{digest.hex()}-{before + 1}" if before else digest.hex()


def _identifier(layout: Layout, row: Row, field: str) -> str:
    """Return the field's identifier; empty where the row has none."""
    column = layout.column(field)
    cell = row.cells[column] if column else None
    return "" if column is None or is_empty(cell) else parse_id(column, cell)


def _parse_type(column: str, cell: object) -> EventType:
    plain = "".join(letter for letter in parse_text(column, cell).casefold() if letter.isalnum())
    found = TYPES_BY_NAME.get(plain.removeprefix(TYPE_PREFIX))
    if found is None:
        raise LineError(f"{column} {cell!r} is not a type of event; the types are: {', '.join(TYPE_NAMES)}")
    return cast(EventType, found)  # at run time a plain int, as the generated stubs have it


TYPE_NAMES = [name.removeprefix("EVENT_TYPE_").lower() for name in EventType.keys()[1:]]
TYPES_BY_NAME = {name.replace("_", ""): EventType.Value(f"EVENT_TYPE_{name.upper()}") for name in TYPE_NAMES}
