"""What survives a crash.

Read in this order: this module (what a store is), `sqlite` (the embedded one), `database` (how its file is opened),
`schema` (its tables), `row` (what is in their rows), `event_log` (how events are appended), `group_commit` (its one
writer), `directory` (the lock on its directory, and whether it is still there), `fault` (what failures of SQLite mean),
`stopped` (how the file of a stopped server is read), `copy` (how it is copied while it is written).

    StoreError
    |- StoreWriteError     a write was not stored; the same write may succeed later
    |- StoreReadError      something could not be read now
    |- StoreOverloadedError  more waits to be written than may, or than can be before the deadline
    |- StoreExpiredError     the deadline passed, or the caller left, before the write began
    |- StoreDamagedError   the database is damaged, where it was read or written
    `- DataDirectoryError  the server cannot start on this directory
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recwire_server.event import Event, EventType
from recwire_server.item import AttributeValue, EmbeddedItem
from recwire_server.vector import Vector


class StoreError(Exception):
    """The root of what a store raises."""


class StoreWriteError(StoreError):
    """A write was not stored; what was acknowledged before it is safe. The same write may succeed later.

    Where the disk refused the fsync, not the write, a crash before the next write can bring it back: whole, once.
    """


class StoreOverloadedError(StoreError):
    """More waits to be written than may, or than can be before the deadline: try again after `retry_delay_s`."""

    def __init__(self, description: str, retry_delay_s: float) -> None:
        super().__init__(description)
        self.retry_delay_s = retry_delay_s


class StoreExpiredError(StoreError):
    """The deadline passed, or the caller left, before the write began: nothing was stored."""


class StoreReadError(StoreError):
    """The disk cannot be read now; what is in memory serves on."""


class StoreDamagedError(StoreError):
    """The database is damaged where it was read or written: trying again does not help."""


class DataDirectoryError(StoreError):
    """The server cannot start on this data directory; the message says why and the way out."""


@dataclass(slots=True)
class Waiter:
    """Who waits for a write: until when, a time.monotonic(), and whether somebody has gone away. A write that nobody
    waits for is dropped as long as it has not begun."""

    deadline_s: float = inf
    is_gone: bool = False

    def is_past(self, now_s: float) -> bool:
        """Return whether nobody waits any more."""
        return self.is_gone or self.deadline_s <= now_s


@dataclass(frozen=True)
class StoredSpace:
    """A generation of the index: its number, the mean that its vector space subtracts, and from how many items.

    mean: (dim,) float32; None: plain.
    """

    generation: int
    mean: Vector | None
    mean_item_count: int


@dataclass(frozen=True)
class ItemVector:
    """What the index needs of an item; a deleted one still has its last vector, for its users' histories.

    vector: (dim,) before the vector space; None where it was not asked for.
    """

    item_id: str
    vector: Vector | None
    revision: int
    deleted: bool
    publish_time_ns: int | None
    expire_time_ns: int | None
    write_time_ns: int
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True)
class StoredUser:
    """A user's events, in order of `Event.place`, and the revision of the last change; 0 and none: an unknown user."""

    events: list[Event]
    revision: int


@dataclass(frozen=True)
class Forgotten:
    """The events that went, and the user's revision after that."""

    events: list[Event]
    revision: int


@dataclass(frozen=True)
class LikedItems:
    """The items of some events, as columns. times_ns: (count,) when each happened, or was recorded if that was
    before."""

    item_ids: list[str]
    times_ns: NDArray[np.int64]


class Store(Protocol):
    """Keeps items, events and generations. Every method that writes returns once the write survives a crash of the
    process and of the machine. Methods are called from the event loop; they never block it. Those that write raise
    StoreWriteError, and StoreOverloadedError where too much waits; those that read StoreReadError; both
    StoreDamagedError."""

    async def append_events(self, user_id: str, events: Sequence[Event], waiter: Waiter | None = None) -> list[Event]:
        """Append events whose ids the user does not have yet: all or none; return them with their revisions.

        Raises StoreOverloadedError if that cannot be done in time, StoreExpiredError if it was not.
        """

    async def user(self, user_id: str) -> StoredUser:
        """Return what is stored of a user."""

    async def sample_histories(self, count: int, event_count: int) -> list[list[Event]]:
        """Return the newest events, at most `event_count`, in order of `Event.place`, of at most `count` users, who are
        drawn by their events."""

    async def newest_events(self, user_id: str, before_revision: int, count: int) -> list[Event]:
        """Return at most `count` of a user's events with revisions below one, the last recorded first."""

    async def forget_events(self, user_id: str, event_ids: Sequence[str]) -> Forgotten:
        """Erase those of the events that the user has; a user who has none after that is erased."""

    async def delete_user(self, user_id: str) -> int:
        """Erase a user; return how many events went."""

    async def user_ids(self, after_user_id: str, count: int) -> list[str]:
        """Return at most `count` users with ids past one, in the order of the ids' UTF-8 bytes."""

    async def user_count(self) -> int:
        """Return how many users have events."""

    async def last_event_revision(self) -> int:
        """Return the revision of the newest event ever appended; 0: none."""

    def liked_items(self, types: Collection[EventType]) -> AsyncIterator[LikedItems]:
        """Yield the items of all events of positive weight, in order of revision, some at a time.

        types: those whose events without a weight of their own count.
        """

    async def put_items(self, items: Sequence[EmbeddedItem], time_ns: int) -> int:
        """Add or replace items: all or none; return the catalogue's new revision. time_ns: when that is."""

    async def items_with_text(self, text_hashes: Collection[bytes]) -> Mapping[bytes, str]:
        """Return those of the hashes of texts that items of the catalogue have, with the first such item's id."""

    async def delete_items(self, item_ids: Sequence[str]) -> tuple[int, list[str]]:
        """Delete items; return the catalogue's revision and the ids that were in it."""

    async def items(self, item_ids: Sequence[str]) -> Mapping[str, EmbeddedItem]:
        """Return those of the items that are in the catalogue, by id."""

    async def list_items(self, after_item_id: str, count: int) -> list[EmbeddedItem]:
        """Return at most `count` items with ids past `after_item_id`, in the order of the ids' UTF-8 bytes."""

    async def catalog_revision(self) -> int:
        """Return the catalogue's revision; 0: never written."""

    def item_vectors(self, after_revision: int = 0) -> Iterator[ItemVector]:
        """Yield all items, deleted ones too, oldest revision first; with the vectors of those of later revisions.

        Blocking: call it off the loop.
        """

    async def space(self) -> StoredSpace | None:
        """Return the newest generation; None before the first."""

    async def put_space(self, space: StoredSpace) -> None:
        """Keep a generation as the newest."""
