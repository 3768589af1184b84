"""The catalogue's items in one vector space, ready to be searched."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from recwire_server.attribute_index import AttributeIndex
from recwire_server.column import Column
from recwire_server.event import Event
from recwire_server.index import Labels
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.snapshot_folder import Key
from recwire_server.item_number import ItemNumbers
from recwire_server.store import ItemVector
from recwire_server.vector import Vector
from recwire_server.vector_space import VectorSpace

# Publish and expire time of an item without either, nanoseconds.
SINCE_EVER, FOR_EVER = -(2**63), 2**63 - 1

# Of an item: its id, entries in dictionaries and sets, times, and three attributes, as tracemalloc counts them.
ITEM_BYTES = 340


class Generation:
    """Items by id and by label, in one vector space. Belongs to the event loop once it serves.

    A new version of an item gets a new label; the old one is kept out of searches. Of a deleted item the last vector
    stays, for the histories that hold it.
    """

    def __init__(
        self, number: int, space: VectorSpace, mean_item_count: int, index: AdaptiveIndex, item_numbers: ItemNumbers
    ) -> None:
        self.number = number
        self.space = space
        self.mean_item_count = mean_item_count
        self.index = index
        self.attributes = AttributeIndex()
        self.live_labels = BitMap()  # of the items that are in the catalogue; nobody else changes it
        self.newest_revision = 0  # of the catalogue: what is in here, all up to it
        self.removed_count = 0  # labels that updates and deletes have left behind since the generation was made
        self._item_ids: list[str] = []  # by label
        self._labels: dict[str, int] = {}  # the newest of an item, deleted or not
        self._revisions: dict[str, int] = {}
        self._deleted: set[str] = set()
        self._item_numbers = item_numbers
        self._any_times = False  # whether an item has a publish or an expire time: most catalogues have none
        # By label:
        self._numbers = Column(np.int64, 0)
        self._publish_times_ns = Column(np.int64, SINCE_EVER)
        self._expire_times_ns = Column(np.int64, FOR_EVER)
        self._new_times_ns = Column(np.int64, 0)

    def __len__(self) -> int:
        """Return how many items can be recommended, publish and expire times aside."""
        return len(self.index)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._labels and item_id not in self._deleted

    def label(self, item_id: str) -> int | None:
        """Return the label of an item of the catalogue; None for an unknown or a deleted one."""
        return self._labels[item_id] if item_id in self else None

    def item_ids(self, labels: Labels) -> list[str]:
        """Return the items of labels."""
        item_ids = self._item_ids
        return [item_ids[label] for label in labels.tolist()]

    def revision(self, item_id: str) -> int:
        """Return the catalogue's revision that wrote or deleted the item; 0: it never was."""
        return self._revisions.get(item_id, 0)

    def vector(self, item_id: str) -> Vector | None:
        """Return the (dim,) vector as it serves, of a deleted item its last; None for an unknown one."""
        label = self._labels.get(item_id)
        return None if label is None else self.index.vector(label)

    def has_vector(self, item_id: str) -> bool:
        """Return whether the item is, or was, in the catalogue."""
        return item_id in self._labels

    @property
    def memory_bytes(self) -> int:
        """What it takes of memory beside its index, about."""
        return ITEM_BYTES * len(self._item_ids)

    def event_vector(self, event: Event) -> Vector | None:
        """Return the (dim,) vector of an event as it serves; None while its item is not in the catalogue."""
        if event.item_id is not None:
            return self.vector(event.item_id)
        assert event.vector is not None, "an event on a text is recorded with its embedding"
        return self.space.map_one(event.vector)

    def put(self, items: Sequence[ItemVector]) -> None:
        """Add items, or new versions of them, in the order given; the last of several with one id stays.

        Raises ValueError for one without a vector.
        """
        if not items:
            return
        vectors = [item.vector for item in items if item.vector is not None]
        if len(vectors) < len(items):
            raise ValueError(f"{len(items) - len(vectors)} items come without their vectors")
        labels = self.index.add(self.space.map(np.stack(vectors))).tolist()
        self._reach(labels[-1] + 1)
        self._fill_columns(labels, items)
        for label, item in zip(labels, items, strict=True):
            self._item_ids.append(item.item_id)
            self._enter(label, item)

    def restore(self, items: Iterable[ItemVector], keys: Sequence[Key]) -> None:
        """Fill an empty generation whose index has rows already, keys[label] each: items that are still what a row was
        get its label, the others come after them. Raises ValueError if one of those comes without its vector."""
        labels = {key: label for label, key in enumerate(keys)}
        found: dict[int, ItemVector] = {}
        others: list[ItemVector] = []
        for item in items:
            label = labels.get((item.item_id, item.revision))
            if label is None:
                others.append(item)
            else:
                found[label] = item
        self._reach(len(keys))
        self._fill_columns(list(found), list(found.values()))
        self._item_ids.extend(item_id for item_id, _ in keys)
        for label in sorted(found):
            self._enter(label, found[label])
        gone = [label for label in range(len(keys)) if label not in found]
        self.index.remove(gone)
        self.removed_count += len(gone)
        self.put(others)

    def keys(self) -> list[Key]:
        """Return what each row of the index is, for a snapshot: a generation that does not serve yet has one row an
        item."""
        return [(item_id, self._revisions[item_id]) for item_id in self._item_ids]

    def delete(self, item_ids: Iterable[str], revision: int) -> None:
        """Keep items out of every later search."""
        for item_id in item_ids:
            self._deleted.add(item_id)
            self._revisions[item_id] = revision
            self.newest_revision = max(self.newest_revision, revision)
            self._remove(self._labels[item_id])
            self.removed_count += 1

    def labels(self, item_ids: Iterable[str]) -> Labels:
        """Return the labels of those of the items that are in the catalogue."""
        found = (self.label(item_id) for item_id in item_ids)
        return np.array([label for label in found if label is not None], np.int64)

    def numbers(self, labels: Labels) -> NDArray[np.int64]:
        """Return (count,) the items' numbers."""
        numbers: NDArray[np.int64] = self._numbers.rows[labels]
        return numbers

    def new_times_ns(self, labels: Labels) -> NDArray[np.int64]:
        """Return (count,) since when the items are new: their publish time, or when they were last written."""
        times: NDArray[np.int64] = self._new_times_ns.rows[labels]
        return times

    def published(self, labels: Labels, now_ns: int) -> Labels:
        """Return those of the labels that are published and not expired."""
        if not self._any_times:
            return labels
        is_published = self._publish_times_ns.rows[labels] <= now_ns
        is_published &= now_ns < self._expire_times_ns.rows[labels]
        return labels[is_published]

    def _enter(self, label: int, item: ItemVector) -> None:
        item_id = item.item_id
        old = self.label(item_id)
        if old is not None:
            self._remove(old)
            self.removed_count += 1
        self._labels[item_id] = label
        self._revisions[item_id] = item.revision
        self.newest_revision = max(self.newest_revision, item.revision)
        if item.deleted:
            self._deleted.add(item_id)
            self._remove(label)
            return
        self._deleted.discard(item_id)
        self.attributes.add(label, item.attributes)
        self.live_labels.add(label)

    def _fill_columns(self, labels: Sequence[int], items: Sequence[ItemVector]) -> None:
        """Have the numbers and times of items at their labels."""
        rows = np.asarray(labels, np.int64)
        self._numbers.rows[rows] = self._item_numbers.of([item.item_id for item in items])
        published = [SINCE_EVER if item.publish_time_ns is None else item.publish_time_ns for item in items]
        expiring = [FOR_EVER if item.expire_time_ns is None else item.expire_time_ns for item in items]
        new = [item.write_time_ns if item.publish_time_ns is None else item.publish_time_ns for item in items]
        self._publish_times_ns.rows[rows] = published
        self._expire_times_ns.rows[rows] = expiring
        self._new_times_ns.rows[rows] = new
        self._any_times |= any(time > SINCE_EVER for time in published) or any(time < FOR_EVER for time in expiring)

    def _remove(self, label: int) -> None:
        self.index.remove([label])
        self.live_labels.discard(label)

    def _reach(self, row_count: int) -> None:
        for column in (self._numbers, self._publish_times_ns, self._expire_times_ns, self._new_times_ns):
            column.reach(row_count)
