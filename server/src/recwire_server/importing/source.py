"""A file's rows: JSONL, CSV or TSV, gzipped or not, in one streaming pass.

UTF-8, with or without a byte order mark. Tables begin with a header line, and quote cells as RFC 4180 has it;
in TSV too. Memory stays bounded by the longest line.
"""

import csv
import gzip
import json
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NoReturn, Self, cast

from recwire_server.importing import UsageError

# A request is at most 4 MiB; the same text in JSON with every character escaped is about three times as long.
MAX_LINE_BYTES = 16 * 2**20
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Format(StrEnum):
    """How a file's rows are written."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"


@dataclass(slots=True)
class Row:
    """A row, and the line on which it begins, from 1. Cells of tables are str, of JSONL any JSON value."""

    line: int
    cells: dict[str, object]


@dataclass(slots=True)
class BadLine:
    """A line that holds no row, and why."""

    line: int
    reason: str


class SourceFile:
    """Reads a file's rows, once. Use it in a `with` block.

    columns: the header's names; None for JSONL, where every row has its own. size_bytes and position_bytes
    count the file's own bytes, compressed where it is. Raises UsageError where nothing of the file can be
    read.
    """

    def __init__(self, path: Path, file_format: Format | None = None) -> None:
        self.path = path
        self.columns: tuple[str, ...] | None = None
        self.size_bytes = 0
        self._format = file_format or _format_by_name(path)

    def __enter__(self) -> Self:
        try:
            self._raw = self.path.open("rb")
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            self._open()
        except BaseException:
            self._raw.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._raw.close()

    @property
    def position_bytes(self) -> int:
        """How much of the file was read so far."""
        return self._raw.tell()

    def rows(self) -> Iterator[Row | BadLine]:
        """Yield the rows in order, and in their places the lines that hold none. Blank lines are skipped."""
        return self._objects() if self.columns is None else self._table_rows(self.columns)

    def _open(self) -> None:
        self.size_bytes = self.path.stat().st_size
        zipped = self._raw.peek(2)[:2] == GZIP_MAGIC
        file = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw)) if zipped else self._raw
        self._lines = _lines(file)
        if self._format is not Format.JSONL:
            self._records = _Records(self._lines, "," if self._format is Format.CSV else "\t")
            self.columns = self._header()

    def _header(self) -> tuple[str, ...]:
        header = next(iter(self._records), None)
        if header is None:
            raise UsageError(f"{self.path} is empty; a table begins with a header line that names its columns")
        if isinstance(header, BadLine):
            raise UsageError(f"cannot read the header of {self.path}: {header.reason}")
        names = tuple(name.strip() for name in header.cells)
        for name in names:
            if name and names.count(name) > 1:
                raise UsageError(f"{self.path} has two columns named {name!r}; rename one in its header")
        return names

    def _table_rows(self, columns: tuple[str, ...]) -> Iterator[Row | BadLine]:
        for record in self._records:
            if isinstance(record, BadLine):
                yield record
            elif len(record.cells) == len(columns):
                yield Row(record.line, dict(zip(columns, record.cells, strict=True)))
            else:
                self._records.reread()
                yield BadLine(record.line, f"has {_count(len(record.cells), 'cell')}; the header has {len(columns)}")

    def _objects(self) -> Iterator[Row | BadLine]:
        for line in self._lines:
            if line.fault:
                yield BadLine(line.number, line.fault)
            elif line.text and not line.text.isspace():
                yield _object(line)


@dataclass(slots=True)
class _Line:
    """A physical line. fault: why it cannot be used; empty: it can."""

    number: int
    text: str
    fault: str = ""


@dataclass(slots=True)
class _Record:
    line: int
    cells: list[str]


class _Records:
    """A table's records. One that cannot be read costs its first line only: reading goes on with the next
    line, so that a quote that is never closed does not swallow the rest of the file."""

    def __init__(self, lines: Iterator[_Line], delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._again: deque[_Line] = deque()
        self._taken: list[_Line] = []

    def __iter__(self) -> Iterator[_Record | BadLine]:
        reader = csv.reader(self._feed(), delimiter=self._delimiter, strict=True)
        while True:
            self._taken = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._bad(f"cannot be read as a table's row: {error}; a quote may be missing")
                self.reread()
                reader = csv.reader(self._feed(), delimiter=self._delimiter, strict=True)
                continue
            fault = next((line for line in self._taken if line.fault), None)
            if fault:
                yield BadLine(fault.number, fault.fault)
            elif cells:
                yield _Record(self._taken[0].number, cells)

    def reread(self) -> None:
        """Read the lines of the latest record again, without its first."""
        self._again.extendleft(reversed(self._taken[1:]))

    def _bad(self, reason: str) -> BadLine:
        first = self._taken[0]
        return BadLine(first.number, first.fault or reason)

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else next(self._lines, None)
            if line is None:
                return
            self._taken.append(line)
            yield line.text


def _lines(file: BinaryIO) -> Iterator[_Line]:
    number = 0
    while True:
        number += 1
        try:
            data = file.readline(MAX_LINE_BYTES)
            too_long = len(data) == MAX_LINE_BYTES and _skip_to_line_end(file, data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield _Line(number, "", f"the gzip data are damaged, nothing from here on can be read: {error}")
            return
        if not data:
            return
        if too_long:
            yield _Line(number, "", f"is longer than {MAX_LINE_BYTES:,} bytes")
        else:
            yield _decoded(number, data)


def _skip_to_line_end(file: BinaryIO, data: bytes) -> bool:
    """Return whether the line went on, having read past its end."""
    skipped = False
    while data and not data.endswith(b"\n"):
        data = file.readline(MAX_LINE_BYTES)
        skipped = skipped or bool(data)
    return skipped


def _decoded(number: int, data: bytes) -> _Line:
    if number == 1:
        data = data.removeprefix(BYTE_ORDER_MARK)
    try:
        return _Line(number, data.decode())
    except UnicodeDecodeError as error:
        # Decoded all the same, so that the quotes in it still count.
        text = data.decode(errors="surrogateescape")
        return _Line(number, text, f"is not UTF-8: byte {data[error.start]:#x} at position {error.start + 1}")


def _object(line: _Line) -> Row | BadLine:
    try:
        value = json.loads(line.text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return BadLine(line.number, f"is not JSON: {error}")
    if not isinstance(value, dict):
        return BadLine(line.number, 'is not a JSON object; a row is written {"column": value, ...}')
    return Row(line.number, value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


def _format_by_name(path: Path) -> Format:
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    by_ending = {".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".csv": Format.CSV, ".tsv": Format.TSV}
    if ending not in by_ending:
        raise UsageError(
            f"cannot tell the format of {path} from its name; use --format with one of: {', '.join(Format)}"
        )
    return by_ending[ending]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
