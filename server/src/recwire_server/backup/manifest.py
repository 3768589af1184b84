"""The manifest of a backup: `backup.json`, written last, one JSON object.

{"format": 1, "time": "2026-03-01T12:00:00+00:00", "server_version": "0.1.0",
 "meta": {"model_name": ..., "model_version": ..., "dim": ..., "schema_version": ..., "catalog_revision": ...,
          "user_id_key": ..., where user ids are pseudonyms},
 "content": {"item_count": 9742, "user_count": 610, "event_count": 100836, "event_revision": 100836,
             "generation": 3},
 "has_index": true,
 "files": {"recwire.sqlite3": {"size_bytes": 57344, "sha256": "..."}, ...}}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from recwire_server.backup import BackupError
from recwire_server.checksum import file_sha256
from recwire_server.store.database import BACKUP_FILE
from recwire_server.store.stopped import Content

FORMAT = 1


@dataclass(frozen=True)
class SavedFile:
    """What a file must be."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup has. time: RFC 3339, of the moment that it shows. meta: the database's table. files: by their paths
    in the folder, with slashes."""

    time: str
    server_version: str
    meta: Mapping[str, str]
    content: Content
    has_index: bool
    files: Mapping[str, SavedFile]

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files.values())

    def faults(self, folder: Path) -> list[str]:
        """Return what is wrong with the files of a folder, a sentence each."""
        return [f"{name}: {fault}" for name, file in self.files.items() if (fault := _fault(folder / name, file))]


def is_backup(folder: Path) -> bool:
    """Return whether a folder claims to be a backup."""
    return (folder / BACKUP_FILE).is_file()


def describe_files(folder: Path) -> dict[str, SavedFile]:
    """Return the files in a folder, and in the folders in it, by their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): SavedFile(path.stat().st_size, file_sha256(path)) for path in paths}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make the folder a backup."""
    fields = {"format": FORMAT, **asdict(manifest)}
    (folder / BACKUP_FILE).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Return a backup's manifest; raises BackupError if there is none that this version can read."""
    path = folder / BACKUP_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields.pop("format")
        if version != FORMAT:
            raise BackupError(
                f"{path} has format {version}; this version reads {FORMAT}: restore it with the one that wrote it"
            )
        files = {name: SavedFile(**file) for name, file in fields.pop("files").items()}
        if any(not _is_inside(name) for name in files):
            raise ValueError("a file of it lies outside the folder")
        return Manifest(content=Content(**fields.pop("content")), files=files, **fields)
    except FileNotFoundError as error:
        raise BackupError(f"{folder} is no backup: it has no {BACKUP_FILE}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{path} is damaged: {error}: restore another backup") from error


def _fault(path: Path, file: SavedFile) -> str:
    """Return what is wrong with a file; empty: nothing."""
    if not path.is_file():
        return "it is missing"
    if (size := path.stat().st_size) != file.size_bytes:
        return f"it has {size:,} bytes, but had {file.size_bytes:,}"
    return "" if file_sha256(path) == file.sha256 else "it is not what was saved: its SHA-256 is another"


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
