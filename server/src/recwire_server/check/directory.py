"""All checks of a data directory or a backup, in their order."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from recwire_server.backup.manifest import is_backup
from recwire_server.check import Checked, CheckedDirectory
from recwire_server.check.backup_file import check_backup_files, check_manifest
from recwire_server.check.database import CHECKS, check_file
from recwire_server.check.index import check_snapshot
from recwire_server.index import snapshot_folder
from recwire_server.store.stopped import opened, read_meta


def check_directory(data_dir: Path, begin: Callable[[str], None]) -> CheckedDirectory:
    """Check a data directory on which no server runs, or a backup; nothing in it changes. begin: told what is checked
    next.

    Raises DataDirectoryError or BackupError if it cannot be checked. A database that is damaged is checked no further.
    """
    found: dict[str, str] = {}
    checks: list[Checked] = []
    if is_backup(data_dir):
        begin("the backup's files")
        checks.append(check_backup_files(data_dir))
    try:
        with opened(data_dir) as connection:
            begin("the database file")
            checks.append(check_file(connection))
            if checks[-1].problems:
                return CheckedDirectory(found, checks)
            found = read_meta(connection)
            for what, check in CHECKS.items():
                begin(what)
                checks.append(check(connection, found))
            begin("the index snapshot")
            checks.append(check_snapshot(data_dir / snapshot_folder.FOLDER, connection, found))
            if is_backup(data_dir):
                checks.append(check_manifest(data_dir, connection, found))
    except sqlite3.DatabaseError as error:
        checks.append(Checked("the database file", 1, [f"it cannot be read: {error}"]))
    return CheckedDirectory(found, checks)
