"""What is stored about users: shown, taken back, erased."""

from collections.abc import Sequence
from dataclasses import dataclass

from recwire_server.catalogue import Catalogue
from recwire_server.errors import UnknownUserError
from recwire_server.event import Event
from recwire_server.keyed_lock import KeyedLocks
from recwire_server.served import ServedHistory
from recwire_server.store import Forgotten
from recwire_server.user import Users
from recwire_server.vector import Vector


@dataclass(frozen=True)
class UserSummary:
    """A user's state. vector: (dim,) float32."""

    revision: int
    event_count: int
    seen_count: int
    vector: Vector


@dataclass(frozen=True)
class StoredEvent:
    """An event as it is kept. weight: its own, or its type's; is_pending: its item is not in the catalogue yet."""

    event: Event
    weight: float
    is_pending: bool


class UserRecords:
    """Shows and removes what is stored about users. Belongs to the event loop.

    turns: by user, of those who change what is stored.
    """

    def __init__(self, users: Users, catalogue: Catalogue, served: ServedHistory, turns: KeyedLocks) -> None:
        self._users = users
        self._catalogue = catalogue
        self._served = served
        self._turns = turns

    async def summary(self, user_id: str) -> UserSummary:
        """Return a user's state; raises UnknownUserError for a user without events."""
        state = await self._users.state(user_id)
        if not state.event_count:
            raise UnknownUserError
        return UserSummary(
            revision=state.revision,
            event_count=state.event_count,
            seen_count=len(state.seen_item_ids),
            vector=state.history.vector.value.astype("float32"),
        )

    async def newest_events(self, user_id: str, before_revision: int, count: int) -> list[StoredEvent]:
        """Return at most `count` of a user's events with revisions below one, the last recorded first.

        Raises UnknownUserError for a user without events.
        """
        events = await self._users.newest_events(user_id, before_revision, count)
        if not events and not (await self._users.state(user_id)).event_count:
            raise UnknownUserError
        return [self._stored_event(event) for event in events]

    async def all_events(self, user_id: str) -> list[StoredEvent]:
        """Return a user's events, in the order in which they happened.

        Raises UnknownUserError for a user without events.
        """
        stored = await self._users.stored(user_id)
        if not stored.events:
            raise UnknownUserError
        return [self._stored_event(event) for event in stored.events]

    async def forget(self, user_id: str, event_ids: Sequence[str]) -> Forgotten:
        """Take events back, as though they had not happened; unknown ids are passed over.

        Raises UnknownUserError for a user without events.
        """
        async with self._turns.held(user_id):
            forgotten = await self._users.forget(user_id, event_ids)
        if not forgotten.revision:
            raise UnknownUserError
        return forgotten

    async def delete(self, user_id: str) -> int:
        """Erase a user; return how many events went. Raises UnknownUserError for a user without events."""
        async with self._turns.held(user_id):
            erased = await self._users.delete(user_id)
            self._served.remove(user_id)
        if not erased:
            raise UnknownUserError
        return len(erased)

    def _stored_event(self, event: Event) -> StoredEvent:
        is_pending = event.item_id is not None and not self._catalogue.generation.has_vector(event.item_id)
        return StoredEvent(event, self._users.rules.weight(event), is_pending)
