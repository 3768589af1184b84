"""recwire-server check: is what is stored sound, and is what is served what is stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from recwire_server.backup import BackupError
from recwire_server.check import CheckedDirectory
from recwire_server.check.directory import check_directory
from recwire_server.cli.access import Access, with_access
from recwire_server.cli.leave import leave
from recwire_server.cli.progress import StepProgress
from recwire_server.store import DataDirectoryError
from recwire_server.store.stopped import DirectoryInUseError

SHOWN_PROBLEMS = 20
ANSWER_TIMEOUT_S = 60.0  # of a hundred users, who may have long histories


@with_access
def check(
    access: Access,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A data directory on which no server runs, or a backup; nothing in it changes.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST:PORT", help="A running server.", show_default=False)
    ] = None,
) -> None:
    """Check a stopped server's data directory, or a running server's users.

    --data-dir: the database's pages; that every vector has the model's
    dimension and is finite; that counts and revisions agree; that each user's
    events, taken one by one, make the vector that a replay makes, to the last
    bit; that the snapshot of the index is whole, and of what the database has;
    of a backup, that its files are what was saved. After a crash a copy is
    read, in the folder of temporary files.

    --to: that each user's live vector is, to the last bit, what the stored
    events make when they are replayed. The server goes on serving.

    Exit status: 0 all is well, 1 something is wrong or cannot be checked,
    2 usage.
    """
    if (data_dir is None) == (to is None):
        leave("give exactly one of --data-dir DIR (no server runs on it) and --to HOST:PORT (a running server)", 2)
    if to is not None:
        _check_live(to, access)
    elif data_dir is not None:
        _check_stopped(data_dir)


def _check_stopped(data_dir: Path) -> None:
    if not data_dir.is_dir():
        leave(f"--data-dir {data_dir} is no directory", 2)
    try:
        with StepProgress() as progress:
            checked = check_directory(data_dir, progress.begin)
    except DirectoryInUseError as error:
        leave(f"{error}: check that server with --to HOST:PORT, or stop it first")
    except (DataDirectoryError, BackupError) as error:
        leave(str(error))
    except OSError as error:
        leave(f"{data_dir} cannot be read: {error}")
    if meta := checked.meta:
        revision = int(meta["catalog_revision"])
        typer.echo(f"{meta['model_name']}, {meta['dim']} dimensions, catalogue revision {revision:,}")
    Console(highlight=False).print(_table(checked))
    _say([problem for check in checked.checks for problem in check.problems])
    typer.echo(f"{data_dir} is {'sound' if checked.is_sound else 'damaged'}")
    raise typer.Exit(0 if checked.is_sound else 1)


def _table(checked: CheckedDirectory) -> Table:
    table = Table()
    table.add_column("checked")
    table.add_column("count", justify="right")
    table.add_column("wrong", justify="right")
    for check in checked.checks:
        table.add_row(check.what, f"{check.count:,}", f"{len(check.problems):,}")
    return table


def _check_live(address: str, access: Access) -> None:
    checked_count, differing = 0, list[str]()
    with access.client(address) as client, StepProgress() as progress:
        progress.begin("users, replayed")
        for answer in client.check_users(timeout_s=ANSWER_TIMEOUT_S):
            checked_count = answer.checked_count
            differing += answer.differing_user_ids
    _say([f"user {user_id!r}: the live state is not what the stored events make" for user_id in differing])
    outcome = f"{len(differing):,} differ from" if differing else "each is, to the last bit,"
    typer.echo(f"{checked_count:,} users checked: {outcome} what the stored events make")
    raise typer.Exit(1 if differing else 0)


def _say(problems: Sequence[str]) -> None:
    for problem in problems[:SHOWN_PROBLEMS]:
        typer.echo(problem)
    if len(problems) > SHOWN_PROBLEMS:
        typer.echo(f"and {len(problems) - SHOWN_PROBLEMS:,} more")
