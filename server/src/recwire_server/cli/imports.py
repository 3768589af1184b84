"""`recwire-server import`: files of items and events into a running server."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from recwire.channel import Stubs
from recwire_server.cli.access import Access, with_access
from recwire_server.importing import ImportingError, ServerError, StoppedError, UsageError
from recwire_server.importing.call import CONNECT_TIMEOUT_S, connected
from recwire_server.importing.column import ColumnMap
from recwire_server.importing.event import EventLine, EventReader, RatingScale
from recwire_server.importing.event_import import EventImport
from recwire_server.importing.item import ItemLine, ItemReader
from recwire_server.importing.item_import import import_items
from recwire_server.importing.report import Report
from recwire_server.importing.source import BadLine, Format, Row, SourceFile

Line = TypeVar("Line")
Line_co = TypeVar("Line_co", covariant=True)

app = typer.Typer(
    help="Import a file into a running server, through its public API. Running an import again is safe:"
    " nothing is lost, and nothing counts twice.",
    no_args_is_help=True,
)

ROWS_PER_REFRESH = 256  # moving the bar at every row would cost more than reading the row

File = Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, CSV or TSV with a header line; .gz too. UTF-8.")]
To = Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="The server.")]
FileFormat = Annotated[
    Format | None, typer.Option("--format", help="How the file is written, where its name does not tell.")
]
Map = Annotated[
    list[str], typer.Option("--map", metavar="TARGET=COLUMN", help="Which column gives a field; repeatable.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")]
ErrorsTo = Annotated[
    Path | None,
    typer.Option("--errors-to", metavar="FILE", help="Write every bad line here, not only the first 20."),
]
RetryFor = Annotated[
    float,
    typer.Option("--retry-for", metavar="SECONDS", help="How long to go on trying when the server goes away."),
]


@app.command()
@with_access
def items(
    file: File,
    access: Access,
    to: To = "127.0.0.1:50051",
    file_format: FileFormat = None,
    mapped: Map = [],  # noqa: B006 (typer makes a new list)
    numbers: Annotated[
        list[str], typer.Option("--number", metavar="COLUMN", help="A table's column of numbers; repeatable.")
    ] = [],  # noqa: B006
    labels: Annotated[
        list[str], typer.Option("--labels", metavar="COLUMN", help="A column of labels, a|b|c; repeatable.")
    ] = [],  # noqa: B006
    ignored: Annotated[
        list[str], typer.Option("--ignore", metavar="COLUMN", help="A column to leave out; repeatable.")
    ] = [],  # noqa: B006
    strict: Strict = False,
    errors_to: ErrorsTo = None,
    retry_for: RetryFor = 30.0,
) -> None:
    """Import the catalogue's items.

    Targets of --map: item_id, title, text (repeatable), publish_time,
    expire_time, attributes.NAME. Columns with usual names need none: id,
    item, movieId, sku, ...; title, name; text, description, ... MovieLens'
    movies.csv is known.

    Every other column becomes an attribute of its name: JSON's strings,
    numbers and booleans keep their kind, lists become labels; a table's cells
    are texts, numbers with --number, labels (a|b|c) with --labels. Columns
    named categories, genres, tags, labels or keywords are labels always. Of
    lines with the same id the last one wins.

    Exit status: 0 everything went in, 1 something was refused or the server
    went away, 2 the command or the file's columns do not fit.
    """

    async def send(stubs: Stubs, lines: Iterable[ItemLine], report: Report) -> None:
        await import_items(stubs.catalog.ImportItems, lines, report, retry_for)
        if report.duplicates:
            report.notes.append("duplicates replaced an earlier line with the same id: the last one wins")

    job = _Job("items", file, file_format, to, access, strict, errors_to, retry_for)
    _run(job, lambda: ItemReader(mapped, numbers, labels, ignored), send)


@app.command()
@with_access
def events(
    file: File,
    access: Access,
    to: To = "127.0.0.1:50051",
    file_format: FileFormat = None,
    mapped: Map = [],  # noqa: B006
    rating_scale: Annotated[
        str,
        typer.Option("--rating-scale", metavar="LOW:HIGH", help="The range of the ratings in a value column."),
    ] = "0.5:5",
    strict: Strict = False,
    errors_to: ErrorsTo = None,
    retry_for: RetryFor = 30.0,
) -> None:
    """Import what users did.

    Targets of --map: user_id, item_id, text, event_id, type, weight, value,
    event_time, recommendation_id. Columns with usual names need none: user,
    userId, ...; item, movieId, ...; query; timestamp, time, ...; value,
    rating; and so on. MovieLens' ratings.csv is known. Other columns are left
    out.

    item_id or text (a search query) says what the event was done to. type is
    one of view, click, search, add_to_cart, purchase, like, dislike, share,
    comment, play, skip, rate. weight is taken as it is. value is a rating,
    and weighs (rating - middle) / (half the range) of --rating-scale: the
    middle moves nothing, less pushes away. Times are seconds, milli-, micro-
    or nanoseconds since 1970, or ISO 8601 (UTC where no zone is given).

    Each user's events go in the order of their times, as far as 200,000
    events reach. Without an event_id column the ids are made of what the rows
    say, so that importing a file again counts nothing twice.

    Exit status: 0 everything went in, 1 something was refused or the server
    went away, 2 the command or the file's columns do not fit.
    """

    async def send(stubs: Stubs, lines: Iterable[EventLine], report: Report) -> None:
        await EventImport(stubs.recommender.UpdateUser, report, retry_for).run(lines)

    job = _Job("events", file, file_format, to, access, strict, errors_to, retry_for)
    _run(job, lambda: EventReader(mapped, RatingScale.parse(rating_scale)), send)


@dataclass(frozen=True)
class _Job:
    noun: str
    file: Path
    file_format: Format | None
    to: str
    access: Access
    strict: bool
    errors_to: Path | None
    retry_for: float


class _Reader(Protocol[Line_co]):
    """Makes items or events of rows."""

    columns: ColumnMap

    def check(self, header: Sequence[str]) -> None: ...

    def read(self, row: Row) -> Line_co: ...


def _run(
    job: _Job,
    make_reader: Callable[[], _Reader[Line]],
    send: Callable[[Stubs, Iterable[Line], Report], Awaitable[None]],
) -> None:
    """Import, and exit with the status that the commands promise."""
    console = Console(stderr=True)
    try:
        raise typer.Exit(asyncio.run(_import(job, make_reader(), send, console)))
    except ImportingError as error:
        hint = job.access.hint(error.code) if isinstance(error, ServerError) else ""
        _say(console, f"error: {error}{hint}")
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error


async def _import(
    job: _Job,
    reader: _Reader[Line],
    send: Callable[[Stubs, Iterable[Line], Report], Awaitable[None]],
    console: Console,
) -> int:
    """Return the exit status, having printed the summary; raises ImportingError to say more."""
    async with AsyncExitStack() as stack:
        source = stack.enter_context(SourceFile(job.file, job.file_format))
        if source.columns is not None:
            reader.check(source.columns)
        log = stack.enter_context(_log(job.errors_to)) if job.errors_to else None
        connection = job.access.connection(job.to)
        channel = await connected(connection, min(job.retry_for, CONNECT_TIMEOUT_S))
        stack.push_async_callback(channel.close, None)
        report = Report(job.file, lambda message: _say(console, message), log, job.strict)
        bar = stack.enter_context(_progress(job.noun, report, console))
        failure = None
        try:
            await send(connection.stubs(channel), report.accepted(_moving(bar, source), reader.read), report)
        except (ServerError, StoppedError) as error:
            failure = error
        bar.stop()
        typer.echo(report.summary(job.noun))
        if failure:
            raise failure
        if reader.columns.unseen:
            missing = ", ".join(repr(column) for column in reader.columns.unseen)
            raise UsageError(f"no row of {job.file} has a column {missing}; mend the options and import it again")
        return 1 if report.refused else 0


def _progress(noun: str, report: Report, console: Console) -> Progress:
    """Return a bar on standard error, which stays hidden where standard output is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(noun, report), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty())


class _Count(ProgressColumn):
    """Shows how many the server answered, and how fast."""

    def __init__(self, noun: str, report: Report) -> None:
        super().__init__()
        self._noun, self._report = noun, report

    def render(self, task: Task) -> Text:
        return Text(f"{self._report.answered:,} {self._noun}, {self._report.rate:,.0f}/s")


def _moving(bar: Progress, source: SourceFile) -> Iterator[Row | BadLine]:
    """Yield the file's rows, moving the bar by the bytes read."""
    task = bar.add_task(source.path.name, total=source.size_bytes)
    for number, row in enumerate(source.rows()):
        if number % ROWS_PER_REFRESH == 0:
            bar.update(task, completed=source.position_bytes)
        yield row
    bar.update(task, completed=source.size_bytes)


@contextmanager
def _log(path: Path) -> Iterator[Callable[[str], None]]:
    """Give what writes a line to the file."""
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    with file:
        yield lambda message: print(message, file=file)


def _say(console: Console, message: str) -> None:
    console.print(message, markup=False, highlight=False, soft_wrap=True)
