"""A graph on disk, so that a restart searches the same one.

Two files in a directory: `graph.hnsw` as hnswlib writes it, and `graph.json`, which is renamed into place last. The
latter has two lines, the first about the second:

    {"format": 2, "sha256": "..."}
    {"dim": 384, "generation": 3, "hnsw_sha256": "...", "row_count": 9742,
     "labels": [0, 1, ...], "keys": [["item id", revision], ...], "ef_search": 64, "recall": 0.97}

`keys[i]` says what row `labels[i]` was. A snapshot that is missing, damaged or of another format is no snapshot.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from recwire_server.index.calibration import Calibration
from recwire_server.index.hnsw import Graph

logger = logging.getLogger(__name__)

FORMAT = 2
FOLDER = "index"  # in a data directory

Key = tuple[str, int]
"""What a row was: an item's id and the revision of its vector."""


class DamagedSnapshotError(Exception):
    """The files of a snapshot are not what was written."""


@dataclass(frozen=True)
class SnapshotContent:
    """What a snapshot is of; its graph is not loaded. keys: of its rows."""

    generation: int
    dim: int
    keys: Sequence[Key]


@dataclass(frozen=True)
class Snapshot:
    """A graph, and what each of its rows was: `keys[i]` belongs to `graph.labels[i]`."""

    graph: Graph
    keys: Sequence[Key]


def save(directory: Path, generation: int, dim: int, graph: Graph, keys: Sequence[Key]) -> None:
    """Replace the directory's snapshot; a crash leaves the old one, the new one or none.

    Raises OSError or RuntimeError (hnswlib's) if it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    header, body = directory / "graph.json", directory / "graph.hnsw"
    header.unlink(missing_ok=True)
    graph.hnsw.save_index(str(body))
    if (size := body.stat().st_size) != graph.hnsw.index_file_size():  # hnswlib does not notice a full disk
        raise OSError(errno.ENOSPC, f"only {size:,} bytes could be written", str(body))
    fields = {
        "dim": dim,
        "generation": generation,
        "hnsw_sha256": _file_sha256(body),
        "row_count": graph.row_count,
        "labels": graph.labels.tolist(),
        "keys": list(keys),
        "ef_search": graph.calibration.ef_search,
        "recall": graph.calibration.recall,
    }
    second = json.dumps(fields)
    first = json.dumps({"format": FORMAT, "sha256": _sha256(second)})
    draft = header.with_suffix(".draft")
    draft.write_text(f"{first}\n{second}\n", encoding="utf-8")
    os.replace(draft, header)


def load(directory: Path, generation: int, dim: int) -> Snapshot | None:
    """Return the directory's snapshot of this generation; None if there is none that can be trusted."""
    try:
        fields = _header(directory / "graph.json")
        if fields is None or (fields["dim"], fields["generation"]) != (dim, generation):
            return None
        body = directory / "graph.hnsw"
        if _file_sha256(body) != fields["hnsw_sha256"]:
            raise ValueError(f"{body} does not match its hash")
        hnsw = hnswlib.Index(space="ip", dim=dim)
        hnsw.load_index(str(body))
        calibration = Calibration(fields["ef_search"], fields["recall"])
        graph = Graph(hnsw, np.asarray(fields["labels"], np.int64), fields["row_count"], calibration)
        return Snapshot(graph, [(item_id, revision) for item_id, revision in fields["keys"]])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        logger.warning("the index snapshot is left aside and built anew: %s", error)
        return None


def read_content(directory: Path) -> SnapshotContent | None:
    """Return what the directory's snapshot is of; None if there is none, or one of another format.

    Raises DamagedSnapshotError if a file is not what was written.
    """
    try:
        fields = _header(directory / "graph.json")
        if fields is None:
            return None
        if _file_sha256(directory / "graph.hnsw") != fields["hnsw_sha256"]:
            raise ValueError("graph.hnsw does not match its hash")
        if len(fields["keys"]) != len(fields["labels"]):
            raise ValueError(f"graph.json has {len(fields['keys']):,} keys for {len(fields['labels']):,} rows")
        keys = [(str(item_id), int(revision)) for item_id, revision in fields["keys"]]
        return SnapshotContent(fields["generation"], fields["dim"], keys)
    except FileNotFoundError as error:
        if (directory / "graph.json").exists():
            raise DamagedSnapshotError("graph.hnsw is missing") from error
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSnapshotError(str(error)) from error


def copy(directory: Path, target: Path) -> SnapshotContent | None:
    """Copy the directory's snapshot; return what it is of. None, and no copy, if there is none that is whole: a server
    may be replacing it."""
    try:
        target.mkdir()
        for name in ("graph.json", "graph.hnsw"):
            shutil.copyfile(directory / name, target / name)
        if content := read_content(target):
            return content
    except (FileNotFoundError, DamagedSnapshotError):
        pass
    shutil.rmtree(target)
    return None


def discard(directory: Path) -> None:
    """Remove the directory's snapshot, and what a failed save has left of one."""
    for name in ("graph.json", "graph.draft", "graph.hnsw"):
        (directory / name).unlink(missing_ok=True)


def _header(path: Path) -> dict[str, Any] | None:
    """Return the fields of a header; None if it is of another format. Raises ValueError if it is damaged."""
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    about = json.loads(first)
    if about["format"] != FORMAT:
        return None
    second = rest.removesuffix("\n")
    if _sha256(second) != about["sha256"]:
        raise ValueError(f"{path} does not match its hash")
    fields: dict[str, Any] = json.loads(second)
    return fields


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
