"""recwire-server backup: a data directory into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from recwire_server.backup import BackupError
from recwire_server.backup.manifest import Manifest
from recwire_server.backup.save import save_backup
from recwire_server.cli.leave import leave
from recwire_server.cli.progress import StepProgress
from recwire_server.store import DataDirectoryError


def backup(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is made; or an empty one.")],
    data_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="A server's data directory; the server may run, and goes on serving."),
    ],
) -> None:
    """Save a data directory in a folder.

    Everything that was acknowledged before this began is in it. The folder
    appears whole, and on the disk, or not at all; backup.json in it has the
    size and the SHA-256 of each file. `check --data-dir OUT` checks it,
    `restore` makes a data directory of it.

    Exit status: 0 saved, 1 not saved, 2 usage.
    """
    if not data_dir.is_dir():
        leave(f"--data-dir {data_dir} is no directory", 2)
    try:
        with StepProgress() as progress:
            manifest = save_backup(data_dir, out, progress.begin)
    except (BackupError, DataDirectoryError) as error:
        leave(str(error))
    typer.echo(f"{out} has {told(manifest)}")


def told(manifest: Manifest) -> str:
    """Return what a backup has, in words."""
    content, meta = manifest.content, manifest.meta
    index = f"of generation {content.generation:,}" if manifest.has_index else "none; it is built at the next start"
    return (
        f"{content.item_count:,} items, {content.user_count:,} users, {content.event_count:,} events,"
        f" {manifest.size_bytes:,} bytes, as of {manifest.time}\n"
        f"model {meta['model_name']} ({meta['dim']} dimensions), catalogue revision {meta['catalog_revision']}, event"
        f" revision {content.event_revision}\n"
        f"index snapshot: {index}"
    )
