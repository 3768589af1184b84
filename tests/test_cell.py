"""Cells of files as values."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recwire_server.importing import LineError
from recwire_server.importing.cell import EPOCH, parse_id, parse_labels, parse_number, parse_time_ns

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Seconds and milliseconds are told apart by their size: from 1973 on.
times = st.datetimes(datetime(1973, 4, 1), datetime(5000, 1, 1))


@given(times)
def test_a_time_is_the_same_however_it_is_written(time):
    """Seconds, milli- and microseconds and ISO 8601, as text or number, give the same time."""
    time = time.replace(microsecond=0, tzinfo=UTC)
    seconds = (time - EPOCH) // timedelta(seconds=1)
    elsewhere = time.astimezone(timezone(timedelta(hours=5, minutes=30)))
    written = [
        seconds,
        float(seconds),
        f"{seconds}",
        f"{seconds}.0",
        f"{seconds * 1000}",
        seconds * 1000,
        seconds * 10**6,
        time.isoformat(),
        time.isoformat().replace("+00:00", "Z"),
        time.replace(tzinfo=None).isoformat(" "),
        elsewhere.isoformat(),
    ]
    assert {parse_time_ns("time", cell) for cell in written} == {seconds * 10**9}


def test_a_fraction_of_a_second_is_kept():
    """Milliseconds are not lost."""
    assert parse_time_ns("time", "1500000000.25") == 1_500_000_000_250_000_000
    assert parse_time_ns("time", "1500000000250") == 1_500_000_000_250_000_000


@pytest.mark.parametrize(
    "cell", ["abc", "1e999999999", "nan", "12:30", "2020-13-01", True, [], {}, 10**30, -62_135_596_801]
)
def test_what_is_no_time_is_refused_by_the_column_name(cell):
    """The message says which column, what it holds and what it should be."""
    with pytest.raises(LineError, match="timestamp "):
        parse_time_ns("timestamp", cell)


@given(any_json)
@pytest.mark.parametrize("parse", [parse_id, parse_labels, parse_number, parse_time_ns])
def test_any_cell_gives_a_value_or_a_line_error(parse, cell):
    """No value that JSON can hold ends an import."""
    with contextlib.suppress(LineError):
        parse("column", cell)


def test_labels_are_a_list_or_stand_between_bars():
    """Empty labels, and MovieLens' word for none, are no labels."""
    assert parse_labels("genres", "Comedy|Drama| ") == ["Comedy", "Drama"]
    assert parse_labels("genres", ["Comedy", "", "Drama"]) == ["Comedy", "Drama"]
    assert parse_labels("genres", "(no genres listed)") == []


def test_half_a_surrogate_pair_is_refused():
    """JSON can write text that UTF-8 cannot."""
    with pytest.raises(LineError, match="surrogate"):
        parse_id("id", "\ud800")
