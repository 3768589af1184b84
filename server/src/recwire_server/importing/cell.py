"""One cell of a file into one value.

Each function takes the column's name, for its message, and the cell: a str from a table, any JSON value from
JSONL. Each raises LineError. `is_empty` tells which cells hold nothing.
"""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from recwire_server.importing import LineError

LABEL_SEPARATOR = "|"  # as MovieLens writes genres; a comma is too often part of a label
NO_LABELS = "(no genres listed)"  # MovieLens' way of writing an empty list

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_NS = -62_135_596_800 * 10**9  # the year 1, where google.protobuf.Timestamp begins
# Below this size a number of seconds; above, of milli-, micro-, nanoseconds. 10^11 s is in the year 5138,
# 10^11 ms in 1973.
SECONDS_LIMIT = 10**11


def is_empty(cell: object) -> bool:
    """Return whether the cell counts as not there."""
    return cell is None or cell == "" or cell == []


def parse_id(column: str, cell: object) -> str:
    """Return an identifier. JSON's whole numbers count as their digits."""
    if isinstance(cell, str):
        return _encodable(column, cell)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    raise LineError(f"{column} {cell!r} is not a text or a whole number")


def parse_text(column: str, cell: object) -> str:
    """Return a text."""
    if not isinstance(cell, str):
        raise LineError(f"{column} {_short(cell)} is not a text")
    return _encodable(column, cell)


def parse_texts(column: str, cell: object) -> list[str]:
    """Return the texts of a list, or the one text; empty ones left out."""
    texts = cell if isinstance(cell, list) else [cell]
    return [parse_text(column, text) for text in texts if not is_empty(text)]


def parse_labels(column: str, cell: object) -> list[str]:
    """Return the labels of a list, or those that a text has between bars (`Comedy|Drama`), no empty ones."""
    if isinstance(cell, str):
        cell = [] if cell == NO_LABELS else cell.split(LABEL_SEPARATOR)
    return [label for text in parse_texts(column, cell) if (label := text.strip())]


def parse_number(column: str, cell: object) -> float:
    """Return a finite number."""
    try:
        number = float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise LineError(f"{column} {_short(cell)} is not a number")
    return number


def parse_time_ns(column: str, cell: object) -> int:
    """Return nanoseconds since 1970, UTC.

    Takes seconds, milli-, micro- or nanoseconds since 1970, told apart by their size, or ISO 8601; without a
    zone, UTC.
    """
    time_ns = _number_ns(cell)
    if time_ns is None:
        time_ns = _iso_ns(cell)
    if time_ns is None:
        raise LineError(f"{column} {_short(cell)} is not a number of seconds nor ISO 8601")
    if time_ns < FIRST_NS:
        raise LineError(f"{column} {_short(cell)} is before the year 1")
    return time_ns


def _number_ns(cell: object) -> int | None:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return None
    try:
        number = Decimal(str(cell))
        for unit_ns in (10**9, 10**6, 10**3, 1):
            if abs(number) < SECONDS_LIMIT * 10**9 // unit_ns:
                return int(number * unit_ns)
    except (ValueError, ArithmeticError):
        return None
    return None


def _iso_ns(cell: object) -> int | None:
    try:
        time = datetime.fromisoformat(cell.strip()) if isinstance(cell, str) else None
    except ValueError:
        return None
    if time is None:
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1) * 1000


def _encodable(column: str, text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise LineError(f"{column} holds half a surrogate pair, which is no character") from error
    return text


def _short(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."
