"""What benchmarks print to terminals, as Markdown."""

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

RULES = {"right": "---:", "center": ":---:"}
WIDTH = 120  # of what is neither a table nor text, and is shown as a terminal would


def markdown(shown: RenderableType) -> str:
    """Return a table with its title and caption, a text, or a group of these; texts become a list."""
    pieces: list[str] = []
    remarks: list[str] = []
    for one in _parts(shown):
        if isinstance(one, str | Text):
            remarks.append(f"- {_plain(one)}")
            continue
        pieces += _as_list(remarks)
        remarks = []
        pieces += _table(one) if isinstance(one, Table) else [_as_on_terminal(one)]
    return "\n\n".join([*pieces, *_as_list(remarks)])


def _parts(shown: RenderableType) -> Iterator[RenderableType]:
    if isinstance(shown, Group):
        for one in shown.renderables:
            yield from _parts(one)
    else:
        yield shown


def _as_list(remarks: Sequence[str]) -> list[str]:
    return ["\n".join(remarks)] if remarks else []


def _table(table: Table) -> list[str]:
    """Return title, rows and caption, as far as there are any."""
    columns = table.columns
    lines = [
        [_cell(column.header) if table.show_header else "" for column in columns],
        [_rule(column) for column in columns],
        *([_cell(cell) for cell in row] for row in zip(*(column.cells for column in columns), strict=True)),
    ]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return [
        *([] if table.title is None else [f"{_plain(table.title)}:"]),
        grid,
        *([] if table.caption is None else [f"{_plain(table.caption)}."]),
    ]


def _rule(column: Column) -> str:
    return RULES.get(column.justify, "---")


def _cell(cell: RenderableType) -> str:
    text = _plain(cell) if isinstance(cell, str | Text) else _as_on_terminal(cell)
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str | Text) -> str:
    return Text.from_markup(text).plain if isinstance(text, str) else text.plain


def _as_on_terminal(one: RenderableType) -> str:
    terminal = Console(width=WIDTH, color_system=None)
    with terminal.capture() as captured:
        terminal.print(one)
    lines = captured.get().rstrip().splitlines()
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])
