"""The files of an index on disk: what they hold, and whether they are what was written.

A directory for each generation, `generation-7`, in which are

    rows.f32         the rows, float32, little-endian, one after the other
    keys.json        [["item id", revision], ...]: what each row was
    projection.npy   the axes of the short vectors, as numpy writes them
    graph.hnsw       the graph as hnswlib writes it; missing if codes are scanned
    header.json      two lines, the first about the second:
                         {"format": 3, "sha256": "..."}
                         {"space": "...", "dim": 384, "generation": 7, "row_count": 9742,
                          "graph_labels": [[0, 9742]], "calibration": {...}, "reason": "...",
                          "files": {"rows.f32": "sha256", ...}}

It is written as `generation-7.draft` and renamed, so that a crash leaves a whole one or none. One that is missing,
damaged or of another format is no snapshot. The rows are mapped, and must not be written to while a server runs.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recwire_server.checksum import file_sha256

logger = logging.getLogger(__name__)

FOLDER = "index"  # in a data directory
FORMAT = 3
HEADER, ROWS, KEYS, PROJECTION, GRAPH = "header.json", "rows.f32", "keys.json", "projection.npy", "graph.hnsw"
PREFIX, DRAFT_SUFFIX = "generation-", ".draft"

Key = tuple[str, int]
"""What a row was: an item's id and the revision of its vector."""


class DamagedSnapshotError(Exception):
    """The files of a snapshot are not what was written."""


@dataclass(frozen=True)
class SnapshotContent:
    """What a snapshot is of, its vectors and graph aside. keys: of its rows. fields: the rest of its header."""

    generation: int
    dim: int
    keys: Sequence[Key]
    fields: Mapping[str, Any]


def folder_of(directory: Path, generation: int) -> Path:
    """Return the folder of a generation's snapshot."""
    return directory / f"{PREFIX}{generation}"


def draft_of(directory: Path, generation: int) -> Path:
    """Return the folder in which it is written."""
    return directory / f"{PREFIX}{generation}{DRAFT_SUFFIX}"


def newest_folder(directory: Path) -> Path | None:
    """Return the folder of the newest snapshot; None if there is none."""
    folders = [path for path in directory.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
    return max(folders, key=lambda path: int(path.name.removeprefix(PREFIX)), default=None)


def remove_others(directory: Path, generation: int) -> None:
    """Remove other generations' snapshots, and what was left of drafts and of other formats."""
    for path in directory.glob("*"):
        if path == folder_of(directory, generation):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_header(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write a folder's header, once its other files are written; with their hashes, and one of its own."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    second = json.dumps({**fields, "files": files})
    first = json.dumps({"format": FORMAT, "sha256": _sha256(second)})
    (folder / HEADER).write_text(f"{first}\n{second}\n", encoding="utf-8")


def read_content(folder: Path | None) -> SnapshotContent | None:
    """Return what a snapshot is of, every file compared with its hash; None if there is none, or one of another format.

    Raises DamagedSnapshotError if a file is not what was written.
    """
    if folder is None or not folder.is_dir():
        return None
    try:
        fields = _header(folder / HEADER)
        if fields is None:
            return None
        for name, sha256 in fields["files"].items():
            if file_sha256(folder / name) != sha256:
                raise ValueError(f"{name} does not match its hash")
        keys = json.loads((folder / KEYS).read_text(encoding="utf-8"))
        if len(keys) != fields["row_count"]:
            raise ValueError(f"there are {len(keys):,} keys for {fields['row_count']:,} rows")
        pairs = [(str(item_id), int(revision)) for item_id, revision in keys]
        return SnapshotContent(fields["generation"], fields["dim"], pairs, fields)
    except FileNotFoundError as error:
        raise DamagedSnapshotError(f"{Path(error.filename).name} is missing") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedSnapshotError(str(error)) from error


def copy(directory: Path, target: Path) -> SnapshotContent | None:
    """Copy the directory's newest snapshot; return what it is of. None, and no copy, if there is none that is whole
    (a server may be replacing it), or no room."""
    folder = newest_folder(directory)
    if folder is None:
        return None
    try:
        shutil.copytree(folder, target / folder.name)
        if content := read_content(target / folder.name):
            return content
    except (shutil.Error, FileNotFoundError, DamagedSnapshotError) as error:
        logger.info("the index snapshot is not copied: %s", error)
    shutil.rmtree(target, ignore_errors=True)
    return None


def _header(path: Path) -> dict[str, Any] | None:
    """Return the fields of a header; None if it is of another format. Raises ValueError if it is damaged."""
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    about = json.loads(first)
    if about["format"] != FORMAT:
        return None
    second = rest.removesuffix("\n")
    if _sha256(second) != about["sha256"]:
        raise ValueError(f"{path.name} does not match its hash")
    fields: dict[str, Any] = json.loads(second)
    return fields


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
