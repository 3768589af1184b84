"""The rows of an index: in a mapped file, or in memory until they are put there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recwire_server.column import Column
from recwire_server.index import Labels
from recwire_server.vector import Vector, Vectors

PIECE_ROWS = 16_384  # of a pass over all rows: what is computed of so many at a time takes some megabytes


class Matrix:
    """Rows of float32, by label. They never move or change once added, so other threads may read those that are there
    while more are added. A removed row stays readable.

    The mapped file holds the first rows, little-endian and without a header. Its pages are the operating system's to
    keep or drop; the later rows take 4 bytes a dimension of the process's own memory.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._mapped: Vectors = np.zeros((0, dim), np.float32)
        self._recent = Column(np.float32, 0, dim)
        self._live = Column(np.bool_, False)
        self._lengths = Column(np.float32, 0)
        self._row_count = 0
        self._live_count = 0

    def __len__(self) -> int:
        """Return how many rows are not removed."""
        return self._live_count

    @property
    def row_count(self) -> int:
        """Rows ever added, removed ones too."""
        return self._row_count

    @property
    def mapped_count(self) -> int:
        """Rows that lie in the file."""
        return len(self._mapped)

    @property
    def memory_bytes(self) -> int:
        """What the rows take of the process's own memory."""
        return int(self._recent.rows.nbytes + self._live.rows.nbytes + self._lengths.rows.nbytes)

    def add(self, vectors: Vectors) -> Labels:
        """Add (count, dim) rows; return their labels, consecutive and never used again."""
        first, end = self._row_count, self._row_count + len(vectors)
        place = first - self.mapped_count
        self._recent.reach(place + len(vectors))
        self._recent.rows[place : place + len(vectors)] = vectors
        self._enter(first, vectors)
        return np.arange(first, end)

    def map_file(self, path: Path, row_count: int) -> None:
        """Have the file's first rows, where there are none yet."""
        assert not self._row_count, "the first rows are the file's"
        self._mapped = _mapped(path, row_count, self.dim)
        for first in range(0, row_count, PIECE_ROWS):
            self._enter(first, self._mapped[first : first + PIECE_ROWS])

    def spill(self, path: Path) -> None:
        """Move the rows that lie in memory to the end of the file. Nobody else may use the matrix meanwhile."""
        with path.open("ab") as file:
            file.write(self._recent.rows[: self._row_count - self.mapped_count].astype("<f4", copy=False).data)
        self._mapped = _mapped(path, self._row_count, self.dim)
        self._recent = Column(np.float32, 0, self.dim)

    def remove(self, labels: Sequence[int] | Labels) -> Labels:
        """Keep rows out of every later search; return those that were not removed before."""
        rows = np.unique(np.asarray(labels, np.int64))
        rows = rows[self._live.rows[rows]]
        self._live.rows[rows] = False
        self._live_count -= len(rows)
        return rows

    def row(self, label: int) -> Vector:
        """Return one row (dim,), not to be changed."""
        place = label - self.mapped_count
        row: Vector = self._recent.rows[place] if place >= 0 else self._mapped[label]
        return row

    def take(self, labels: Sequence[int] | Labels) -> Vectors:
        """Return (count, dim) rows."""
        labels = np.asarray(labels, np.int64)
        if self._row_count == self.mapped_count:
            return self._mapped[labels]
        is_recent = labels >= self.mapped_count
        if is_recent.all():
            return self._recent.rows[labels - self.mapped_count]
        if not is_recent.any():
            return self._mapped[labels]
        rows = np.empty((len(labels), self.dim), np.float32)
        rows[is_recent] = self._recent.rows[labels[is_recent] - self.mapped_count]
        rows[~is_recent] = self._mapped[labels[~is_recent]]
        return rows

    def live(self, labels: Labels | slice) -> NDArray[np.bool_]:
        """Return (count,) which of the rows are not removed."""
        mask: NDArray[np.bool_] = self._live.rows[labels]
        return mask

    def live_labels(self) -> Labels:
        """Return the labels of all rows that are not removed, ascending."""
        return np.flatnonzero(self._live.rows[: self._row_count])

    def lengths(self, labels: Labels | slice) -> NDArray[np.float32]:
        """Return (count,) the lengths of the rows."""
        lengths: NDArray[np.float32] = self._lengths.rows[labels]
        return lengths

    def pieces(self, first: int = 0) -> Iterator[tuple[int, Vectors]]:
        """Yield the rows from one on, up to those of now: the label of the first of each piece, and the piece."""
        row_count = self._row_count  # first: what it counts is there, also while another thread adds
        mapped, recent = self._mapped, self._recent.rows
        for start in range(min(first, len(mapped)), len(mapped), PIECE_ROWS):
            yield start, mapped[start : start + PIECE_ROWS]
        for start in range(max(first, len(mapped)), row_count, PIECE_ROWS):
            end = min(start + PIECE_ROWS, row_count)
            yield start, recent[start - len(mapped) : end - len(mapped)]

    def _enter(self, first: int, vectors: Vectors) -> None:
        end = first + len(vectors)
        self._live.reach(end)
        self._lengths.reach(end)
        self._live.rows[first:end] = True
        self._lengths.rows[first:end] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        self._row_count = end
        self._live_count += len(vectors)


def _mapped(path: Path, row_count: int, dim: int) -> Vectors:
    return np.asarray(np.memmap(path, "<f4", "r", shape=(row_count, dim)))
