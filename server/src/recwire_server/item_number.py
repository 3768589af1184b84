"""Numbers for item ids, under which what is known of an item lies in arrays."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray


class ItemNumbers:
    """Gives each item id a number, from 0 on, the same for as long as the process lives. Safe to call from many
    threads: a generation is made on one of its own."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = count()

    def __getitem__(self, item_id: str) -> int:
        """Return the item's number, a new one at the first time."""
        number = self._numbers.get(item_id)
        # Of two threads that meet here one's number is never used.
        return self._numbers.setdefault(item_id, next(self._next)) if number is None else number

    def of(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return (count,) the items' numbers."""
        numbers = [*map(self._numbers.get, item_ids)]
        if None in numbers:
            numbers = [self[item_id] for item_id in item_ids]
        return np.array(numbers, np.int64)
