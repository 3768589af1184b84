"""Columns of numbers that grow."""

from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)

FIRST_CAPACITY = 1024  # rows; doubled when full, so that adding costs O(1) a row


class Column(Generic[Number]):
    """A column of numbers, one a row, or so many (width). fill: what rows hold that nobody has set."""

    def __init__(self, dtype: type[Number], fill: Any, width: int | None = None) -> None:
        self._fill = fill
        self._rows: NDArray[Number] = np.full(FIRST_CAPACITY if width is None else (FIRST_CAPACITY, width), fill, dtype)

    @property
    def rows(self) -> NDArray[Number]:
        """All rows, set or not. Not to be kept: a row past the end makes a new array."""
        return self._rows

    def __setitem__(self, row: int, value: Any) -> None:
        self.reach(row + 1)
        self._rows[row] = value

    def reach(self, count: int) -> None:
        """Have at least so many rows."""
        if count > len(self._rows):
            shape = (max(count, 2 * len(self._rows)), *self._rows.shape[1:])
            grown = np.full(shape, self._fill, self._rows.dtype)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
