"""Whether a backup's files are what its manifest says."""

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from recwire_server.backup.manifest import read_manifest
from recwire_server.check import Checked
from recwire_server.store.database import BACKUP_FILE
from recwire_server.store.stopped import read_content


def check_backup_files(folder: Path) -> Checked:
    """Compare the sizes and hashes of a backup's files with its manifest's."""
    manifest = read_manifest(folder)
    problems = manifest.faults(folder)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(found - manifest.files.keys() - {BACKUP_FILE}):
        problems.append(f"{name}: it is no file of the backup: somebody has put it there since")
    return Checked("files of the backup", len(manifest.files), problems)


def check_manifest(folder: Path, connection: sqlite3.Connection, meta: Mapping[str, str]) -> Checked:
    """Compare what a backup's manifest says of the database with the database."""
    manifest = read_manifest(folder)
    said = {**manifest.meta, **asdict(manifest.content)}
    found = {**meta, **asdict(read_content(connection))}
    problems = [
        f"{BACKUP_FILE}: {name} is {said.get(name)!r}, but the database's is {found.get(name)!r}"
        for name in sorted(said.keys() | found.keys())
        if said.get(name) != found.get(name)
    ]
    return Checked("facts of the manifest", len(said), problems)
