"""The catalogue's items in one vector space, ready to be searched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from recwire_server.index.hnsw import HnswIndex
from recwire_server.index.snapshot import Key, Snapshot
from recwire_server.store import ItemVector
from recwire_server.vector import Query, Vector
from recwire_server.vector_space import VectorSpace

ALWAYS = (-(2**63), 2**63)  # publish and expire time of an item without either, nanoseconds


@dataclass(frozen=True)
class Candidate:
    """An item that a search found: its label in the generation, and its score."""

    label: int
    item_id: str
    score: float


class Generation:
    """Items by id and by label, in one vector space. Belongs to the event loop once it serves.

    A new version of an item gets a new label; the old one is kept out of searches. Of a deleted item the last vector
    stays, for the histories that hold it.
    """

    def __init__(self, number: int, space: VectorSpace, mean_item_count: int, index: HnswIndex) -> None:
        self.number = number
        self.space = space
        self.mean_item_count = mean_item_count
        self.index = index
        self.removed_count = 0  # labels that updates and deletes have left behind since the generation was made
        self._item_ids: list[str] = []  # by label
        self._labels: dict[str, int] = {}  # the newest of an item, deleted or not
        self._revisions: dict[str, int] = {}
        self._deleted: set[str] = set()
        self._times: dict[int, tuple[int, int]] = {}  # publish, expire; only of labels that have one

    def __len__(self) -> int:
        """Return how many items can be recommended, publish and expire times aside."""
        return len(self.index)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._labels and item_id not in self._deleted

    def label(self, item_id: str) -> int | None:
        """Return the label of an item of the catalogue; None for an unknown or a deleted one."""
        return self._labels[item_id] if item_id in self else None

    def item_id(self, label: int) -> str:
        """Return the item of a label."""
        return self._item_ids[label]

    def revision(self, item_id: str) -> int:
        """Return the catalogue's revision that wrote or deleted the item; 0: it never was."""
        return self._revisions.get(item_id, 0)

    def vector(self, item_id: str) -> Vector | None:
        """Return the (dim,) vector as it serves, of a deleted item its last; None for an unknown one."""
        label = self._labels.get(item_id)
        return None if label is None else self.index.vectors([label])[0]

    def put(self, items: Sequence[ItemVector]) -> None:
        """Add items, or new versions of them, in the order given; the last of several with one id stays."""
        if not items:
            return
        labels = self.index.add(self.space.map(np.stack([item.vector for item in items]))).tolist()
        for label, item in zip(labels, items, strict=True):
            self._item_ids.append(item.item_id)
            self._enter(label, item)

    def restore(self, items: Iterable[ItemVector], snapshot: Snapshot) -> None:
        """Fill an empty generation so that the snapshot's graph fits: its rows where they were, the rest after them."""
        items_by_id = {item.item_id: item for item in items}
        rows: list[ItemVector | None] = [None] * snapshot.graph.row_count
        for label, (item_id, revision) in zip(snapshot.graph.labels.tolist(), snapshot.keys, strict=True):
            item = items_by_id.get(item_id)
            if item is not None and item.revision == revision and not item.deleted:
                rows[label] = items_by_id.pop(item_id)
        dim = self.index.dim
        vectors = np.stack([np.zeros(dim, np.float32) if row is None else row.vector for row in rows])
        self.index.add(self.space.map(vectors))
        for label, row in enumerate(rows):
            self._item_ids.append("" if row is None else row.item_id)
            if row is not None:
                self._enter(label, row)
        gone = [label for label, row in enumerate(rows) if row is None]
        self.index.remove(gone)
        self.removed_count += len(gone)
        self.put(list(items_by_id.values()))
        self.index.adopt(snapshot.graph)

    def keys(self, labels: Iterable[int]) -> list[Key]:
        """Return what these labels are, for a snapshot."""
        return [(self._item_ids[label], self._revisions[self._item_ids[label]]) for label in labels]

    def delete(self, item_ids: Iterable[str], revision: int) -> None:
        """Keep items out of every later search."""
        for item_id in item_ids:
            self._deleted.add(item_id)
            self._revisions[item_id] = revision
            self.index.remove([self._labels[item_id]])
            self.removed_count += 1

    def search(self, query: Query, k: int, now_ns: int, *, exact: bool) -> list[Candidate]:
        """Return the nearest of k or more items that are published and not expired, best first, ties by item id.

        Fewer than k come back where items among the k nearest are not recommendable now.
        """
        matches = self.index.search(query, k, exact=exact)
        candidates = [
            Candidate(label, self._item_ids[label], score)
            for label, score in zip(matches.labels.tolist(), matches.scores.tolist(), strict=True)
            if self._is_published(label, now_ns)
        ]
        candidates.sort(key=lambda candidate: (-candidate.score, candidate.item_id))
        return candidates

    def newest(self, now_ns: int) -> Iterable[str]:
        """Yield the items that are published and not expired, the last written first, those of one call by item id."""
        newest_first = (
            self._item_ids[label] for label in range(len(self._item_ids) - 1, -1, -1) if self._is_newest(label)
        )
        for _, written_together in groupby(newest_first, self.revision):
            for item_id in sorted(written_together):
                if self._is_published(self._labels[item_id], now_ns):
                    yield item_id

    def is_recommendable(self, item_id: str, now_ns: int) -> bool:
        """Return whether the item is in the catalogue, published and not expired."""
        label = self.label(item_id)
        return label is not None and self._is_published(label, now_ns)

    def _is_newest(self, label: int) -> bool:
        """Return whether the label is that of an item of the catalogue, and not of an older version."""
        return self.label(self._item_ids[label]) == label

    def _enter(self, label: int, item: ItemVector) -> None:
        item_id = item.item_id
        old = self.label(item_id)
        if old is not None:
            self.index.remove([old])
            self.removed_count += 1
        self._labels[item_id] = label
        self._revisions[item_id] = item.revision
        if item.deleted:
            self._deleted.add(item_id)
            self.index.remove([label])
            return
        self._deleted.discard(item_id)
        publish, expire = item.publish_time_ns, item.expire_time_ns
        if publish is not None or expire is not None:
            self._times[label] = (
                ALWAYS[0] if publish is None else publish,
                ALWAYS[1] if expire is None else expire,
            )

    def _is_published(self, label: int, now_ns: int) -> bool:
        if label not in self._times:
            return True
        publish, expire = self._times[label]
        return publish <= now_ns < expire
