"""An index kept on disk, so that a restart searches the same one; `snapshot_folder` says in which files."""

import errno
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

from recwire_server.index import Labels
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.calibration import Calibration, Step
from recwire_server.index.graph import Graph
from recwire_server.index.projection import Projection
from recwire_server.index.sealed import Sealed
from recwire_server.index.snapshot_folder import (
    GRAPH,
    KEYS,
    PROJECTION,
    ROWS,
    DamagedSnapshotError,
    Key,
    SnapshotContent,
    draft_of,
    folder_of,
    read_content,
    write_header,
)

logger = logging.getLogger(__name__)


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


def load(directory: Path, generation: int, dim: int, space: str) -> Snapshot | None:
    """Return the generation's snapshot; None if there is none that can be trusted. space: what its rows are in."""
    folder = folder_of(directory, generation)
    try:
        content = read_content(folder)
        if content is None or (content.dim, content.generation, content.fields["space"]) != (dim, generation, space):
            return None
        return _snapshot(folder, content)
    except (DamagedSnapshotError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        logger.warning("the index snapshot is left aside and built anew: %s", error)
        return None


class Draft:
    """A snapshot that is being written, of a generation that does not serve yet. What the disk refuses costs the
    snapshot, not the index: then rows stay in memory, and the next start builds anew."""

    def __init__(self, directory: Path, generation: int, space: str) -> None:
        """Make no files yet. space: names the vector space that the rows are in."""
        self._directory = directory
        self._generation = generation
        self._space = space
        self._folder = draft_of(directory, generation)
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
        """Make it the generation's snapshot. Those of others stay, until `remove_others`."""
        sealed = index.sealed
        assert sealed is not None, "there is nothing to keep of an exact index"
        if self._failed:
            return
        try:
            (self._folder / KEYS).write_text(json.dumps(list(keys)), encoding="utf-8")
            np.save(self._folder / PROJECTION, sealed.projection.axes)
            if sealed.graph:
                _save_graph(sealed.graph, self._folder / GRAPH)
            write_header(self._folder, {"space": self._space, **_fields(self._generation, index.dim, sealed)})
            final = folder_of(self._directory, self._generation)
            shutil.rmtree(final, ignore_errors=True)  # of a build that ended before the store knew of it
            os.replace(self._folder, final)
        except (OSError, RuntimeError) as error:  # hnswlib raises RuntimeError
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        logger.error("the index snapshot could not be written; the next start builds the index anew: %s", error)
        shutil.rmtree(self._folder, ignore_errors=True)  # half a file must not fill the disk


def _save_graph(graph: Graph, path: Path) -> None:
    graph.hnsw.save_index(str(path))
    if (size := path.stat().st_size) != graph.hnsw.index_file_size():  # hnswlib does not notice a full disk
        raise OSError(errno.ENOSPC, f"only {size:,} bytes could be written", str(path))


def _fields(generation: int, dim: int, sealed: Sealed) -> dict[str, Any]:
    return {
        "dim": dim,
        "generation": generation,
        "row_count": sealed.row_count,
        "graph_labels": _ranges(sealed.graph) if sealed.graph else None,
        "calibration": asdict(sealed.calibration),
        "reason": sealed.reason,
    }


def _snapshot(folder: Path, content: SnapshotContent) -> Snapshot:
    fields = content.fields
    projection = Projection(np.load(folder / PROJECTION))
    graph = None
    if fields["graph_labels"] is not None:
        hnsw = hnswlib.Index(space="ip", dim=projection.short_dim)
        hnsw.load_index(str(folder / GRAPH))
        graph = Graph(hnsw, _labels(fields["graph_labels"]), fields["row_count"])
    calibration = _calibration(fields["calibration"])
    return Snapshot(folder, fields["row_count"], content.keys, projection, graph, calibration, fields["reason"])


def _calibration(fields: dict[str, Any]) -> Calibration:
    steps = tuple(Step(**step) for step in fields["steps"])
    return Calibration(**{**fields, "steps": steps})


def _ranges(graph: Graph) -> list[list[int]]:
    """Return the graph's labels as [first, end) of those that follow one another: most do."""
    labels = graph.labels
    breaks = np.flatnonzero(np.diff(labels) != 1) + 1
    pieces = np.split(labels, breaks) if len(labels) else []
    return [[int(piece[0]), int(piece[-1]) + 1] for piece in pieces]


def _labels(ranges: Sequence[Sequence[int]]) -> Labels:
    return np.concatenate([np.arange(first, end) for first, end in ranges] or [np.zeros(0, np.int64)])
