"""Pages whose figures are links to results: `[1.9 ms](overload.json "overload.embed.stages[-1].refused_p50_ms")`.

The title of such a link says of what the figure is, see `figure`. On the pages that are searched, a number with a unit
of performance that is no such link is a fault; it may stand in code, or in a paragraph (or list, or table) that says
`<!-- not measured: WHY -->`, such as one on limits and settings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import FigureError, rewritten
from benchmarks.result_file import ResultFileError, read_result_file

LINK = re.compile(r'\[([^][]+)\]\(([^()\s]+\.json)\s+"([^"]+)"\)')
UNIT = r"(?:us|µs|ms|s|[KMGT]i?B|x|times|%|\w+/s|\w+ a second)(?!\w)"
UNLINKED = re.compile(rf"(?<![\w.,/-])[-\d.,]*\d\s?{UNIT}")
UNIT_BEHIND = re.compile(rf"\s?{UNIT}")
CODE = re.compile(r"^```.*?^```|^ {4}[^\n]*|`[^`]+`", re.DOTALL | re.MULTILINE)
LINK_OR_COMMENT = re.compile(r"\[[^][]*\]\([^()]*\)|<!--.*?-->", re.DOTALL)
NOT_MEASURED = re.compile(r"<!-- not measured: \S.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page of the documentation, named by its path in the project. is_searched: for figures that are no links."""

    path: Path
    name: str
    is_searched: bool


def pages(root: Path) -> list[Page]:
    """Return the pages of the project that lies at root."""
    docs = sorted(root.glob("docs/*.md"))
    paths = [root / "README.md", root / "benchmarks" / "README.md", *docs]
    return [Page(path, str(path.relative_to(root)), path not in docs) for path in paths]


def check_page(page: Page, *, write: bool = False) -> list[str]:
    """Return what is wrong with the figures, each with the line. write: put in what the results have."""
    text = page.path.read_text(encoding="utf-8")
    without_code = CODE.sub(_blank, text)
    faults: list[str] = []

    def corrected(match: re.Match[str]) -> str:
        if match[0] != without_code[match.start() : match.end()]:
            return match[0]
        written, target, of = match.groups()
        where = f"{page.name}:{_line(text, match.start())}"
        try:
            right = rewritten(written, of, read_result_file(page.path.parent / target).results)
        except (FigureError, ResultFileError) as error:
            faults.append(f"{where}: {error}")
            return match[0]
        if written != right and not write:
            faults.append(f"{where}: {written!r} is {right!r} in {target}: python -m benchmarks figures --write")
        if right[-1].isdigit() and (behind := UNIT_BEHIND.match(text, match.end())):
            faults.append(f"{where}: put the unit into the link: [{written} {behind[0].strip()}]")
        return match[0].replace(f"[{written}]", f"[{right}]", 1)

    corrected_text = LINK.sub(corrected, text)
    if write and corrected_text != text:
        page.path.write_text(corrected_text, encoding="utf-8")
    if page.is_searched:
        faults += [f"{page.name}:{line}: {found!r} is no link to a result" for line, found in unlinked(text)]
    return faults


def unlinked(text: str) -> Iterator[tuple[int, str]]:
    """Yield figures with a unit that are no links, and their lines."""
    for paragraph in re.finditer(r"(?:.+\n?)+", CODE.sub(_blank, text)):
        if NOT_MEASURED.search(paragraph[0]):
            continue
        for match in UNLINKED.finditer(LINK_OR_COMMENT.sub(_blank, paragraph[0])):
            yield _line(text, paragraph.start() + match.start()), match[0]


def _blank(match: re.Match[str]) -> str:
    """Return as many blanks: what stands behind stays where it is. A line of code is no end of a paragraph."""
    return re.sub(r"\S", " ", match[0])


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
