"""recwire-server restore: a data directory out of a backup."""

from pathlib import Path
from typing import Annotated

import typer

from recwire_server.backup import BackupError
from recwire_server.backup.restore import restore_backup
from recwire_server.cli.backup import told
from recwire_server.cli.leave import leave
from recwire_server.cli.progress import StepProgress
from recwire_server.store import DataDirectoryError


def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="A folder that `backup` has made.")],
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="An empty directory, or one that is made.")],
) -> None:
    """Make a data directory of a backup, which stays as it is.

    The backup's checksums are verified first. A server that starts on the
    directory answers as the one did that was saved.

    Exit status: 0 restored, 1 not restored, 2 usage.
    """
    if not backup.is_dir():
        leave(f"{backup} is no directory", 2)
    try:
        with StepProgress() as progress:
            manifest = restore_backup(backup, data_dir, progress.begin)
    except (BackupError, DataDirectoryError) as error:
        leave(str(error))
    typer.echo(f"{data_dir} has {told(manifest)}")
