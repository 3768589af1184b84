"""Reading files: formats, compression, and lines that cannot be read."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recwire_server.importing import UsageError
from recwire_server.importing.source import MAX_LINE_BYTES, BadLine, Format, Row, SourceFile

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tables = st.lists(st.fixed_dictionaries({"id": cells, "title": cells, "a b": cells}), max_size=5)


def read(path: Path, file_format: Format | None = None) -> list[Row | BadLine]:
    with SourceFile(path, file_format) as source:
        return list(source.rows())


def bad_lines(rows: list[Row | BadLine]) -> list[int]:
    return [row.line for row in rows if isinstance(row, BadLine)]


def ids(rows: list[Row | BadLine]) -> list[object]:
    return [row.cells["id"] for row in rows if isinstance(row, Row)]


def written(table: list[dict[str, str]], file_format: Format) -> bytes:
    if file_format is Format.JSONL:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "title", "a b"], dialect="excel" if file_format is Format.CSV else "excel-tab")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


@given(tables, st.sampled_from(Format), st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_reads_back(tmp_path, table, file_format, zipped, mark):
    """Any rows read back the same from every format, zipped or not, with a byte order mark or without."""
    path = tmp_path / f"rows.{file_format}{'.gz' if zipped else ''}"
    data = mark + written(table, file_format)
    path.write_bytes(gzip.compress(data, 1) if zipped else data)

    rows = read(path)

    assert [row.cells for row in rows if isinstance(row, Row)] == table
    assert not bad_lines(rows)


@given(st.binary(max_size=300), st.sampled_from(Format), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_end_the_reading_with_a_traceback(tmp_path, data, file_format, zipped):
    """Whatever a file holds, it gives rows, bad lines or a usage error."""
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(data)[:-1] if zipped else data)
    try:
        read(path, file_format)
    except UsageError:
        assert file_format is not Format.JSONL


def test_a_bad_line_costs_only_itself(tmp_path):
    """Bytes that are no UTF-8, and text that is no JSON object, are reported by line; the rest is read."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": "\xff"}\n\n[2]\n{"id": NaN}\n' + b"[" * 100_000 + b'\n{"id": 3}')
    rows = read(path)
    assert ids(rows) == [1, 3]
    assert bad_lines(rows) == [2, 4, 5, 6]


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path):
    """The lines after an open quote are read as though it were not there."""
    path = tmp_path / "rows.csv"
    path.write_text('id,title\n1,a\n2,"open\n3,c\n4,"d, e"\n5,"f\ng"\n6,"open again\n')
    rows = read(path)
    assert ids(rows) == ["1", "3", "4", "5"]
    assert bad_lines(rows) == [3, 8]


def test_a_row_says_the_line_on_which_it_begins(tmp_path):
    """Line breaks within cells count as lines."""
    path = tmp_path / "rows.csv"
    path.write_text('id,title\n1,"a\nb\nc"\n2,d\n')
    assert [row.line for row in read(path)] == [2, 5]


def test_a_row_with_other_cells_than_the_header_is_bad(tmp_path):
    """Missing and surplus cells are no guess about which column they belong to."""
    path = tmp_path / "rows.tsv"
    path.write_text("id\ttitle\n1\ta\n2\n3\tc\td\n4\te\n")
    rows = read(path)
    assert ids(rows) == ["1", "4"]
    assert [row.reason for row in rows if isinstance(row, BadLine)] == [
        "has 1 cell; the header has 2",
        "has 3 cells; the header has 2",
    ]


def test_a_cut_gzip_file_gives_what_it_holds(tmp_path):
    """What was compressed before the cut is read, and the cut is reported."""
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress("".join(f'{{"id": {number}}}\n' for number in range(50_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    rows = read(path)
    assert 10_000 < len(ids(rows)) < 50_000
    assert isinstance(rows[-1], BadLine)
    assert len(bad_lines(rows)) == 1


def test_a_line_without_end_does_not_fill_the_memory(tmp_path):
    """A line beyond the bound is skipped to its end and reported."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n' + b" " * (2 * MAX_LINE_BYTES + 5) + b'\n{"id": 2}\n')
    rows = read(path)
    assert ids(rows) == [1, 2]
    assert bad_lines(rows) == [2]


def test_compression_shows_in_the_bytes_not_in_the_name(tmp_path):
    """A gzipped file without .gz in its name is read all the same."""
    path = tmp_path / "rows.csv"
    path.write_bytes(gzip.compress(b"id,title\n1,a\n"))
    assert ids(read(path)) == ["1"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rows.txt", b"", "--format"),
        ("rows.csv", b"", "empty"),
        ("rows.csv", b"id,id\n", "two columns named 'id'"),
        ("rows.csv", "id,title\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_a_usage_error(tmp_path, name, data, said):
    """The message says what is wrong with the file as a whole."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match=said):
        read(path)


def test_a_missing_file_is_a_usage_error(tmp_path):
    """The message names the file."""
    with pytest.raises(UsageError, match=r"none\.csv"):
        read(tmp_path / "none.csv")
