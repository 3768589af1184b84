"""A folder that appears whole or not at all."""

import glob
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from recwire_server.disk import sync
from recwire_server.model import ModelExportError
from recwire_server.model.manifest import MANIFEST_FILE

STALE_AFTER_S = 24 * 3600  # an export takes minutes


@contextmanager
def new_model_folder(destination: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes `destination`'s place when the block ends without an error.

    What was filled in survives power loss from then on. An older model folder is replaced; anything else that
    is not empty is refused with ModelExportError, before the block runs.
    """
    destination = destination.resolve()  # "." has no name of its own, and a link's target is what is meant
    if destination.exists() and not _may_be_replaced(destination):
        raise ModelExportError(f"{destination} exists and is not a model folder; name another --out")
    if destination.is_mount():
        raise ModelExportError(f"{destination} is a mount point and stays in place; name a folder inside it")
    # Beside the destination, so that the rename stays within one file system. Not named by process id: in a
    # container that is the same after every crash.
    _remove_stale(destination)
    unique = uuid4().hex[:8]
    partial = destination.with_name(f".{destination.name}.{unique}.partial")
    old = destination.with_name(f".{destination.name}.{unique}.old")
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in (*partial.iterdir(), partial):
            sync(path)
        # A folder cannot be renamed onto one with files, so for a moment there is none.
        if destination.exists():
            destination.rename(old)
        partial.rename(destination)
        sync(destination.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if old.exists() and not destination.exists():
            old.rename(destination)
        raise ModelExportError(f"{destination} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_stale(destination: Path) -> None:
    """Remove what exports to this destination left behind that were killed; one of today may still be running."""
    for partial in destination.parent.glob(f".{glob.escape(destination.name)}.*.partial"):
        if time.time() - partial.stat().st_mtime > STALE_AFTER_S:
            shutil.rmtree(partial, ignore_errors=True)


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MANIFEST_FILE).is_file() or not any(folder.iterdir()))
