"""Users: their events, durable, and the vectors that these make."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from recwire_server.catalogue import Catalogue
from recwire_server.event import Event
from recwire_server.history import History, HistoryRules
from recwire_server.keyed_lock import KeyedLocks
from recwire_server.popularity import Popularity
from recwire_server.store import Forgotten, Store, StoredUser, StoreError, StoreExpiredError, Waiter
from recwire_server.task import TaskKeeper
from recwire_server.vector import Vector
from recwire_server.vector_space import VectorSpace

OLDER_EVENT_BYTES = 100  # the id of its item among those that were seen


@dataclass
class UserState:
    """A user as the server holds it: the events, and the vector that they make, a cache.

    revision: of the last change; 0: no events. space, catalog_revision: what the vector was made with. seen_item_ids:
    the items of all events, those too that count only in a sum. Belongs to the event loop.
    """

    history: History
    revision: int
    seen_item_ids: set[str]
    space: VectorSpace
    catalog_revision: int
    counted_bytes: int = 0  # as the bound on what is cached knows it

    @property
    def event_count(self) -> int:
        """How many events the user has."""
        return self.history.older_event_count + len(self.history)

    @property
    def memory_bytes(self) -> int:
        """What it takes of memory, about; what it has seen of items that its events no longer name, too."""
        return self.history.memory_bytes + OLDER_EVENT_BYTES * self.history.older_event_count


def seen_item_ids(events: Iterable[Event]) -> set[str]:
    """Return the items that events are on."""
    return {event.item_id for event in events if event.item_id is not None}


class Users:
    """Records events and returns users' states. What it acknowledges is durable, counted, and in the next state.

    rules: how events count. max_cached_bytes: how much of users is held in memory (at 384 dimensions about 9 KB each,
    .5 KB an event and 2 KB one on a text); users not asked for lately are read again when they are.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        popularity: Popularity,
        tasks: TaskKeeper,
        rules: HistoryRules,
        *,
        dim: int,
        max_cached_bytes: int,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._popularity = popularity
        self._tasks = tasks
        self._rules = rules
        self._dim = dim
        self.max_cached_bytes = max_cached_bytes
        self._cache: OrderedDict[str, UserState] = OrderedDict()  # the last asked for is last
        self._cached_bytes = 0
        self._locks = KeyedLocks()
        self._revision = 0
        self._advanced = asyncio.Event()

    async def start(self) -> None:
        """Find out how far the log is."""
        self._revision = await self._store.last_event_revision()

    @property
    def rules(self) -> HistoryRules:
        """How events count."""
        return self._rules

    @property
    def cached_count(self) -> int:
        """How many users are held in memory."""
        return len(self._cache)

    @property
    def cached_bytes(self) -> int:
        """What they take, about."""
        return self._cached_bytes

    async def append(self, user_id: str, events: Sequence[Event], deadline_s: float = inf) -> list[Event]:
        """Record a user's events in order, all or none; return those that were new, with their revisions.

        An event whose id the user has already is not new. Once the store has begun, it is finished even if the caller
        goes away; until then it is dropped when the caller does, or at deadline_s, a time.monotonic().
        """
        waiter = Waiter(deadline_s)
        try:
            return await self._tasks.run(self._append(user_id, events, waiter))
        except asyncio.CancelledError:
            waiter.is_gone = True
            raise

    async def count(self) -> int:
        """Return how many users have events."""
        return await self._store.user_count()

    async def state(self, user_id: str) -> UserState:
        """Return the user's state as of now: no events for an unknown user. Do not keep it across an await."""
        state = self._cache.get(user_id)
        if state is None or self._is_stale(state):
            async with self._locks.held(user_id):
                return await self._load(user_id)
        self._cache.move_to_end(user_id)
        return state

    async def stored(self, user_id: str) -> StoredUser:
        """Return all events that are stored of a user, those too that count only in a sum."""
        return await self._store.user(user_id)

    async def newest_events(self, user_id: str, before_revision: int, count: int) -> list[Event]:
        """Return at most `count` of a user's events with revisions below one, the last recorded first."""
        return await self._store.newest_events(user_id, before_revision, count)

    async def forget(self, user_id: str, event_ids: Sequence[str]) -> Forgotten:
        """Take events back: all is as though they had not happened. Unknown ids are passed over; of an unknown user
        the revision is 0. Once begun, it is finished even if the caller goes away."""
        return await self._tasks.run(self._forget(user_id, event_ids))

    async def delete(self, user_id: str) -> list[Event]:
        """Erase a user; return the events that went, none for an unknown user."""
        return await self._tasks.run(self._delete(user_id))

    async def is_as_replayed(self, user_id: str) -> bool:
        """Return whether the state is, to the last bit, what the stored events make when they are replayed."""
        async with self._locks.held(user_id):
            state = await self._load(user_id)
            stored = await self._store.user(user_id)
            if self._is_stale(state):
                state = await self._load(user_id)
            replayed = self._state(stored)
            return (state.history.vector, state.revision, state.seen_item_ids, _places(state)) == (
                replayed.history.vector,
                replayed.revision,
                replayed.seen_item_ids,
                _places(replayed),
            )

    async def user_ids(self, after_user_id: str, count: int) -> list[str]:
        """Return at most `count` users with ids past one, in the order of the ids' UTF-8 bytes."""
        return await self._store.user_ids(after_user_id, count)

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """Wait until everything up to this revision is in the states; return whether it came to that in time."""
        if self._revision >= revision:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._revision < revision:
                    await self._advanced.wait()
        return self._revision >= revision

    def vector_of(self, event: Event) -> Vector | None:
        """Return the (dim,) vector of an event as it serves; None while its item is not in the catalogue."""
        return self._catalogue.generation.event_vector(event)

    def history(self, events: Iterable[Event]) -> History:
        """Return the history of these events, in the order of their places, as it counts now."""
        return History(self._rules, self.vector_of, self._dim, events)

    async def _append(self, user_id: str, events: Sequence[Event], waiter: Waiter) -> list[Event]:
        async with self._locks.held(user_id):
            try:
                appended = await self._store.append_events(user_id, events, waiter)
            except StoreExpiredError:
                if waiter.is_gone:  # nobody is left to be told
                    return []
                raise
            if appended:
                self._popularity.add(appended)
                if user_id in self._cache:  # others are read when they are asked for
                    try:
                        await self._extend(user_id, appended)
                    except StoreError:  # it is stored, but cannot be read now: whoever asks next reads it
                        self._drop(user_id)
        if appended:
            self._advance(appended[-1].revision)
        return appended

    async def _extend(self, user_id: str, appended: Sequence[Event]) -> None:
        """Let a cached state have events that are stored; called with the user's lock."""
        state = self._cache[user_id]
        self._cache.move_to_end(user_id)
        in_order = sorted(appended, key=lambda event: event.place)
        if self._is_stale(state) or not state.history.is_next(in_order[0]):
            await self._make_anew(user_id, state)
            return
        for event in in_order:
            state.history.append(event)
        state.seen_item_ids |= seen_item_ids(appended)
        state.revision = appended[-1].revision
        self._count_cached(state)

    async def _forget(self, user_id: str, event_ids: Sequence[str]) -> Forgotten:
        async with self._locks.held(user_id):
            forgotten = await self._store.forget_events(user_id, event_ids)
            if not forgotten.events:
                return forgotten
            self._popularity.remove(forgotten.events)
            self._drop(user_id)
            await self._load(user_id)
        self._advance(forgotten.revision)
        return forgotten

    async def _delete(self, user_id: str) -> list[Event]:
        async with self._locks.held(user_id):
            stored = await self._store.user(user_id)
            await self._store.delete_user(user_id)
            self._drop(user_id)
            self._popularity.remove(stored.events)
        return stored.events

    def _advance(self, revision: int) -> None:
        if revision > self._revision:
            self._revision = revision
            self._advanced.set()  # wakes those who wait now
            self._advanced.clear()

    async def _load(self, user_id: str) -> UserState:
        """Return the cached state, as of now, or read it; called with the user's lock."""
        if (state := self._cache.get(user_id)) is None:
            state = self._cache[user_id] = self._state(await self._store.user(user_id))
            self._count_cached(state)
        elif self._is_stale(state):
            await self._make_anew(user_id, state)
        self._cache.move_to_end(user_id)
        return state

    async def _make_anew(self, user_id: str, state: UserState) -> None:
        """Bring a cached state up to what is stored and how it counts now; called with the user's lock."""
        made = self._state(await self._store.user(user_id))
        state.history, state.revision, state.seen_item_ids = made.history, made.revision, made.seen_item_ids
        state.space, state.catalog_revision = made.space, made.catalog_revision
        self._count_cached(state)

    def _state(self, stored: StoredUser) -> UserState:
        return UserState(
            self.history(stored.events),
            stored.revision,
            seen_item_ids(stored.events),
            self._catalogue.generation.space,
            self._catalogue.revision,
        )

    def _is_stale(self, state: UserState) -> bool:
        """Return whether an item of the history, or the vector space, has changed since the vector was made."""
        generation, revision = self._catalogue.generation, self._catalogue.revision
        if state.space is not generation.space:
            return True
        if state.catalog_revision == revision:
            return False
        if any(generation.revision(item_id) > state.catalog_revision for item_id in state.seen_item_ids):
            return True
        state.catalog_revision = revision
        return False

    def _count_cached(self, state: UserState) -> None:
        """Keep what is cached within its bound, by letting go of the users not asked for the longest."""
        now_bytes = state.memory_bytes
        self._cached_bytes += now_bytes - state.counted_bytes
        state.counted_bytes = now_bytes
        while self._cached_bytes > self.max_cached_bytes:
            user_id = next(iter(self._cache))
            if user_id in self._locks:  # in use: a later call lets go of it
                break
            self._drop(user_id)

    def _drop(self, user_id: str) -> None:
        state = self._cache.pop(user_id, None)
        if state is not None:
            self._cached_bytes -= state.counted_bytes


def _places(state: UserState) -> list[tuple[int, int]]:
    return [event.place for event in state.history.events]
