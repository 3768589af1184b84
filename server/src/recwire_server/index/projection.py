"""Shorter vectors that keep most of the inner product: what is searched, before exact scores decide."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recwire_server.vector import Query, Vector, Vectors

# The axes are kept that hold this share of the rows' squared length, a multiple of so many, which processors like. Of
# MiniLM's 384 that is 128: of 100,000 items the true ten nearest are among the 64 nearest by them in 98-100 %.
KEPT_SHARE = 0.8
DIM_STEP = 32
# A row of which less is kept is foreign: unlike those that the axes are made of, and not to be found by them. Of real
# items 3 in 10,000 are; where it would be more than so many, more axes are kept.
FOREIGN_SHARE = 0.6
MAX_FOREIGN = 0.002


@dataclass(frozen=True)
class Projection:
    """The rows' principal axes, about the origin (inner products do not centre). axes: (dim, short dim) float32."""

    axes: Vectors

    @classmethod
    def of(cls, rows: Vectors) -> "Projection":
        """Return that of (count, dim) rows, or of a sample."""
        dim = rows.shape[1]
        _, axes = np.linalg.eigh(rows.T.astype(np.float64) @ rows)  # in ascending order
        axes = np.ascontiguousarray(axes[:, ::-1], np.float32)
        kept = np.cumsum((rows @ axes) ** 2, axis=1)  # of each row, by the first axes
        for short_dim in range(DIM_STEP, dim, DIM_STEP):
            foreign = float((kept[:, short_dim - 1] < FOREIGN_SHARE * kept[:, -1]).mean())
            if kept[:, short_dim - 1].sum() >= KEPT_SHARE * kept[:, -1].sum() and foreign <= MAX_FOREIGN:
                return cls(np.ascontiguousarray(axes[:, :short_dim]))
        return cls(axes)

    @property
    def short_dim(self) -> int:
        """The length of what is mapped."""
        return int(self.axes.shape[1])

    def map(self, rows: Vectors) -> Vectors:
        """Return (count, dim) rows as (count, short dim)."""
        return rows @ self.axes

    def are_foreign(self, rows: Vectors, short_rows: Vectors) -> NDArray[np.bool_]:
        """Return (count,) which rows are foreign; short_rows: what they are mapped to."""
        kept, all_ = (np.einsum("ij,ij->i", vectors, vectors) for vectors in (short_rows, rows))
        foreign: NDArray[np.bool_] = kept < FOREIGN_SHARE * all_
        return foreign

    def map_query(self, query: Query) -> Vector:
        """Return (dim,) as (short dim,) float32."""
        return query.astype(np.float32) @ self.axes
