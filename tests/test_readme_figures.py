"""Figures in the documentation are those of the committed results, and the check of that finds what is wrong."""

import json
from pathlib import Path

import pytest

from benchmarks.figure import FigureError, rewritten
from benchmarks.figure_page import Page, check_page, pages, unlinked

ROOT = Path(__file__).parents[1]
RESULTS = {
    "load": {
        "stages": [{"p50_ms": 1.25, "goodput": 0.9134}, {"p50_ms": 2.5, "goodput": 0.5}],
        "calls_per_s": 2693.9,
        "resident_bytes": 2_650_775_552,
        "resident_mb": 192.7,
        "kinds": {"1 item": {"recall": 0.9999}, "20 items, 20 topics": {"recall": 0.978}},
        "name": "made",
        "met": True,
    }
}
LINK = '[2.5 ms](load.json "load.stages[-1].p50_ms")'


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.name)
def test_every_figure_is_that_of_its_result(page: Page):
    """Each link to a value is right, rounded as it is written; README.md and the benchmarks' have no other figures."""
    assert check_page(page) == []


@pytest.mark.parametrize(
    ("written", "of", "right"),
    [
        ("2.5 ms", "load.stages[-1].p50_ms", "2.5 ms"),
        ("2,000us", "load.stages[1].p50_ms", "2,500us"),
        (".001 s", "load.stages[0].p50_ms", ".001 s"),
        ("2.5", "load.stages[1].p50_ms", "2.5"),
        ("3,000 calls/s", "load.calls_per_s", "2,694 calls/s"),
        ("0 texts/s", "load.stages[0].goodput", "1 texts/s"),
        ("90 %", "load.stages[0].goodput", "91 %"),
        ("1.00x", "load.stages[0].goodput", "0.91x"),
        ("2.65 GB", "load.resident_bytes", "2.65 GB"),
        ("200 MB", "load.resident_mb", "193 MB"),
        (".978", "min load.kinds.*.recall", ".978"),
        (".99", "max load.kinds.*.recall", "1.00"),
        (".9", "load.kinds.20 items, 20 topics.recall", "1.0"),
        ("3 times", "load.stages[1].p50_ms / load.stages[0].p50_ms", "2 times"),
    ],
)
def test_a_figure_is_rounded_as_it_is_written(written: str, of: str, right: str):
    """The same decimals, unit and space; commas between thousands; no zero before the point where there was none."""
    assert rewritten(written, of, RESULTS) == right
    assert rewritten(right, of, RESULTS) == right


@pytest.mark.parametrize(
    ("written", "of", "fault"),
    [
        ("about 3 ms", "load.stages[0].p50_ms", "no figure"),
        ("3 apples", "load.stages[0].p50_ms", "no figure"),
        ("1234,5 ms", "load.stages[0].p50_ms", "no figure"),
        ("ms", "load.stages[0].p50_ms", "no figure"),
        ("3 MB", "load.stages[0].p50_ms", "is a size, but .* a time"),
        ("3 s", "load.calls_per_s", "is a time, but .* a rate"),
        ("3 ms", "load.stages[2].p50_ms", "no number"),
        ("3 ms", "load.stages[x].p50_ms", "no number"),
        ("3", "load.name", "no number"),
        ("3", "load.met", "no number"),
        (".9", "load.kinds.*.recall", "2 values: write min or max"),
        ("3 times", "load.stages[1].p50_ms / load.resident_mb", "divides a time by a size"),
    ],
)
def test_what_cannot_be_a_figure_is_told(written: str, of: str, fault: str):
    """What is no number with a unit, of another kind than the value, or of no value at all."""
    with pytest.raises(FigureError, match=fault):
        rewritten(written, of, RESULTS)


def test_a_wrong_figure_is_found_and_can_be_put_right(page_of):
    """With its line and what it should be; writing changes the figure and nothing else."""
    page = page_of(f"As fast as\n{LINK.replace('2.5', '1.9')} it is, and `{LINK}` is code.\n\n    {LINK}\n")
    (fault,) = check_page(page)
    assert fault.startswith("page.md:2: '1.9 ms' is '2.5 ms' in load.json")
    assert check_page(page, write=True) == []
    assert page.path.read_text() == f"As fast as\n{LINK} it is, and `{LINK}` is code.\n\n    {LINK}\n"


def test_a_link_that_leads_nowhere_is_found(page_of):
    """To no file, or with the unit outside of it, where nobody would check it."""
    assert "no result of a benchmark" in check_page(page_of(LINK.replace("load.json", "nothing.json")))[0]
    (fault,) = check_page(page_of(LINK.replace("2.5 ms", "2.5") + " s it takes"))
    assert "put the unit into the link" in fault


def test_a_figure_that_is_no_link_is_found(page_of):
    """But in code, in links, and in paragraphs that say why; on other pages it may be."""
    text = "It takes 1.9 ms, half of\n3 s, and serves 1,193 calls/s at 10 % of 12 MB, 2 times.\n"
    assert [found for _, found in unlinked(text)] == ["1.9 ms", "3 s", "1,193 calls/s", "10 %", "12 MB", "2 times"]
    assert [line for line, _ in unlinked(f"\n{text}")] == [2, 3, 3, 3, 3, 3]
    for fine in (
        "It takes `1.9 ms`, and 12 texts of 384 dimensions.",
        "```sh\nsleep 1 s\n\nsleep 2 s\n```",
        "Thus:\n\n    takes 1.9 ms",
        f"It takes {LINK}.",
        "<!-- not measured: a limit -->\nIt may take 1.9 ms.",
    ):
        assert list(unlinked(fine)) == []
    assert list(unlinked("<!-- not measured: a limit -->\nIt may.\n\nIt takes 1.9 ms."))
    assert list(unlinked("<!-- not measured: -->\nIt takes 1.9 ms."))
    assert check_page(page_of(text))
    assert check_page(page_of(text, is_searched=False)) == []


@pytest.fixture
def page_of(tmp_path: Path):
    """Makes a page of a text, beside a result file."""
    (tmp_path / "load.json").write_text(json.dumps({"environment": {}, "results": RESULTS}))

    def make(text: str, *, is_searched: bool = True) -> Page:
        path = tmp_path / "page.md"
        path.write_text(text)
        return Page(path, path.name, is_searched)

    return make
