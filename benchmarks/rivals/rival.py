"""What a rival can do."""

from collections.abc import Sequence
from typing import Protocol

from recwire_server.vector import Vector, Vectors

M = 16  # links a node of a graph: hnswlib's own default, and recwire's
EF_CONSTRUCTION = 200  # the same


class Rival(Protocol):
    """Finds the items nearest to a vector by inner product. Items are named by their row.

    where: in what kind of process, and how it is reached. version: of whatever does the work. knob: the name of what
    trades recall for speed; efforts: its values, ascending.
    """

    where: str
    version: str
    knob: str
    efforts: Sequence[int]

    def build(self, rows: Vectors) -> None:
        """Take all items, (count, dim) of unit length, and index them; slow."""

    def pin(self, core: int) -> None:
        """Work on one core from now on."""

    def set_effort(self, effort: int) -> None:
        """Set the knob for the searches from now on."""

    def search(self, query: Vector, seen: Sequence[int], k: int) -> list[int]:
        """Return the k items nearest to query (dim,) that are not among the seen, best first; rarely fewer."""

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far by whoever searches."""

    def memory_bytes(self) -> int:
        """Return what it takes of memory."""


class RecordingRival(Rival, Protocol):
    """Keeps what users do, too."""

    def record(self, user: int, item: int) -> None:
        """Keep an event on an item, and the sum of the vectors of the user's items with it, as one; returns once the
        disk has both."""

    def total(self, user: int) -> Vector:
        """Return that sum, (dim,), as it is kept."""


def unseen(found: Sequence[int], seen: Sequence[int], k: int) -> list[int]:
    """Return the first k of what was found that are not among the seen: for rivals that are quicker asked for more."""
    dropped = set(seen)
    return [item for item in found if item not in dropped][:k]
