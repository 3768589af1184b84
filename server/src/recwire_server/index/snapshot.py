"""An index on disk, so that a restart searches the same one.

A directory for each generation, `generation-7`, in which are

    rows.f32         the rows, float32, little-endian, one after the other
    keys.json        [["item id", revision], ...]: what each row was
    projection.npy   the axes of the short vectors, as numpy writes them
    graph.hnsw       the graph as hnswlib writes it; missing if codes are scanned
    header.json      two lines, the first about the second:
                         {"format": 3, "sha256": "..."}
                         {"dim": 384, "generation": 7, "row_count": 9742, "files": {"rows.f32": "sha256", ...},
                          "graph_labels": ..., "calibration": {...}, "reason": "..."}

It is written as `generation-7.draft` and renamed, so that a crash leaves a whole one or none. One that is missing,
damaged or of another format is no snapshot. The rows are mapped, and must not be written to while a server runs.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from recwire_server.index.adaptive import AdaptiveIndex, Sealed
from recwire_server.index.calibration import Calibration, Step
from recwire_server.index.graph import Graph
from recwire_server.index.projection import Projection

logger = logging.getLogger(__name__)

FORMAT = 3
HEADER, ROWS, KEYS, PROJECTION, GRAPH = "header.json", "rows.f32", "keys.json", "projection.npy", "graph.hnsw"

Key = tuple[str, int]
"""What a row was: an item's id and the revision of its vector."""


@dataclass(frozen=True)
class Snapshot:
    """What is kept of an index. keys: of each row. graph: None if codes are scanned."""

    folder: Path
    row_count: int
    keys: Sequence[Key]
    projection: Projection
    graph: Graph | None
    calibration: Calibration
    reason: str

    def map_rows(self, index: AdaptiveIndex) -> None:
        """Have the rows as the first of an empty index."""
        index.map_file(self.folder / ROWS, self.row_count)

    def sealed(self, index: AdaptiveIndex) -> Sealed:
        """Return what searches the rows, which the index has."""
        segments = index.codes(self.projection, self.row_count)
        return Sealed(self.projection, tuple(segments), self.graph, self.calibration, self.row_count, self.reason)


class Draft:
    """A snapshot that is being written, of a generation that does not serve yet. What the disk refuses costs the
    snapshot, not the index: then rows stay in memory, and the next start builds anew."""

    def __init__(self, directory: Path, generation: int) -> None:
        self._directory = directory
        self._generation = generation
        self._folder = directory / f"{_name(generation)}.draft"
        self._begun = False
        self._failed = False

    def spill(self, index: AdaptiveIndex) -> None:
        """Put the index's rows that lie in memory in the snapshot's file, where they are read from then on."""
        if self._failed:
            return
        try:
            if not self._begun:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir(parents=True)
                self._begun = True
            index.spill(self._folder / ROWS)
        except OSError as error:
            self._fail(error)

    def save(self, index: AdaptiveIndex, keys: Sequence[Key]) -> None:
        """Make it the directory's snapshot, of which there is one."""
        sealed = index.sealed
        assert sealed is not None, "there is nothing to keep of an exact index"
        if self._failed:
            return
        try:
            (self._folder / KEYS).write_text(json.dumps(list(keys)), encoding="utf-8")
            np.save(self._folder / PROJECTION, sealed.projection.axes)
            if sealed.graph:
                sealed.graph.hnsw.save_index(str(self._folder / GRAPH))
            _write_header(self._folder, self._generation, index.dim, sealed)
            final = self._directory / _name(self._generation)
            shutil.rmtree(final, ignore_errors=True)  # of a build that ended before the store knew of it
            os.replace(self._folder, final)
            self.remove_others()
        except (OSError, RuntimeError) as error:  # hnswlib raises RuntimeError
            self._fail(error)

    def remove_others(self) -> None:
        """Remove other generations' snapshots, and what was left of drafts."""
        for path in self._directory.glob("*"):
            if path.name != _name(self._generation):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        logger.warning("the index is not kept on disk, and is built anew at the next start: %s", error)
        shutil.rmtree(self._folder, ignore_errors=True)


def load(directory: Path, generation: int, dim: int) -> Snapshot | None:
    """Return the generation's snapshot; None if there is none that can be trusted."""
    folder = directory / _name(generation)
    try:
        fields = _header(folder / HEADER)
        if fields is None or (fields["dim"], fields["generation"]) != (dim, generation):
            return None
        for name, sha256 in fields["files"].items():
            if _file_sha256(folder / name) != sha256:
                raise ValueError(f"{folder / name} does not match its hash")
        return _snapshot(folder, fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        logger.warning("the index snapshot is left aside and built anew: %s", error)
        return None


def _name(generation: int) -> str:
    return f"generation-{generation}"


def _write_header(folder: Path, generation: int, dim: int, sealed: Sealed) -> None:
    fields = {
        "dim": dim,
        "generation": generation,
        "row_count": sealed.row_count,
        "files": {path.name: _file_sha256(path) for path in sorted(folder.iterdir())},
        "graph_labels": _ranges(sealed.graph) if sealed.graph else None,
        "calibration": asdict(sealed.calibration),
        "reason": sealed.reason,
    }
    second = json.dumps(fields)
    first = json.dumps({"format": FORMAT, "sha256": _sha256(second)})
    (folder / HEADER).write_text(f"{first}\n{second}\n", encoding="utf-8")


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


def _snapshot(folder: Path, fields: dict[str, Any]) -> Snapshot:
    projection = Projection(np.load(folder / PROJECTION))
    keys = [(item_id, revision) for item_id, revision in json.loads((folder / KEYS).read_text(encoding="utf-8"))]
    if len(keys) != fields["row_count"]:
        raise ValueError(f"{folder} has {len(keys)} keys for {fields['row_count']} rows")
    graph = None
    if fields["graph_labels"] is not None:
        hnsw = hnswlib.Index(space="ip", dim=projection.short_dim)
        hnsw.load_index(str(folder / GRAPH))
        graph = Graph(hnsw, _labels(fields["graph_labels"]), fields["row_count"])
    calibration = _calibration(fields["calibration"])
    return Snapshot(folder, fields["row_count"], keys, projection, graph, calibration, fields["reason"])


def _calibration(fields: dict[str, Any]) -> Calibration:
    steps = tuple(Step(**step) for step in fields["steps"])
    return Calibration(**{**fields, "steps": steps})


def _ranges(graph: Graph) -> list[list[int]]:
    """Return the graph's labels as [first, end) of those that follow one another: most do."""
    labels = graph.labels
    breaks = np.flatnonzero(np.diff(labels) != 1) + 1
    pieces = np.split(labels, breaks) if len(labels) else []
    return [[int(piece[0]), int(piece[-1]) + 1] for piece in pieces]


def _labels(ranges: Sequence[Sequence[int]]) -> np.ndarray:
    return np.concatenate([np.arange(first, end) for first, end in ranges] or [np.zeros(0, np.int64)])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
