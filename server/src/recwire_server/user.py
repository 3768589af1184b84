"""Users: their events, durable, and the vectors that these make."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from recwire_server.catalogue import Catalogue
from recwire_server.event import Event
from recwire_server.history import UserVector, fold
from recwire_server.popularity import Popularity
from recwire_server.store import Store
from recwire_server.task import TaskKeeper
from recwire_server.vector import Vector
from recwire_server.vector_space import VectorSpace


@dataclass
class UserState:
    """A user as the server holds it: the events, and the vector that they make, a cache.

    space, catalog_revision: what the vector was made with. Belongs to the event loop.
    """

    events: list[Event]
    vector: UserVector
    space: VectorSpace
    catalog_revision: int
    seen_item_ids: set[str]

    @property
    def revision(self) -> int:
        """The revision of the newest event; 0: none."""
        return self.events[-1].revision if self.events else 0


def seen_item_ids(events: Iterable[Event]) -> set[str]:
    """Return the items that events are on."""
    return {event.item_id for event in events if event.item_id is not None}


class Users:
    """Records events and returns users' states. What it acknowledges is durable, counted, and in the next state.

    decay: see `history.fold`. max_cached_events: how many events are held in memory over all users (about 1 KB each;
    those on texts hold a vector, 2.5 KB at 384 dimensions; a user counts as one more); users not asked for lately are
    read again when they are.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        popularity: Popularity,
        tasks: TaskKeeper,
        *,
        dim: int,
        decay: float,
        max_cached_events: int,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._popularity = popularity
        self._tasks = tasks
        self._dim = dim
        self._decay = decay
        self._max_cached_events = max_cached_events
        self._cache: OrderedDict[str, UserState] = OrderedDict()  # the last asked for is last
        self._cached_count = 0
        self._locks: dict[str, _UserLock] = {}
        self._revision = 0
        self._advanced = asyncio.Condition()

    async def start(self) -> None:
        """Find out how far the log is."""
        self._revision = await self._store.last_event_revision()

    @property
    def decay(self) -> float:
        """What earlier events keep at each further one."""
        return self._decay

    async def append(self, user_id: str, events: Sequence[Event]) -> list[Event]:
        """Record a user's events in order, all or none; return those that were new, with their revisions.

        An event whose id the user has already is not new. Once begun, it is finished even if the caller goes away.
        """
        return await self._tasks.run(self._append(user_id, events))

    async def count(self) -> int:
        """Return how many users have events."""
        return await self._store.user_count()

    async def state(self, user_id: str) -> UserState:
        """Return the user's state as of now: no events for an unknown user. Do not keep it across an await."""
        state = self._cache.get(user_id)
        if state is None:
            async with self._locked(user_id):
                state = await self._load(user_id)
        else:
            self._cache.move_to_end(user_id)
        self._refresh(state)
        return state

    async def delete(self, user_id: str) -> list[Event]:
        """Erase a user; return the events that went, none for an unknown user."""
        return await self._tasks.run(self._delete(user_id))

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """Wait until everything up to this revision is in the states; return whether it came to that in time."""
        if self._revision >= revision:
            return True
        try:
            async with asyncio.timeout(timeout_s), self._advanced:
                await self._advanced.wait_for(lambda: self._revision >= revision)
        except TimeoutError:
            return False
        return True

    def vector_of(self, event: Event) -> Vector | None:
        """Return the (dim,) vector of an event as it serves; None while its item is not in the catalogue."""
        generation = self._catalogue.generation
        if event.item_id is not None:
            return generation.vector(event.item_id)
        assert event.vector is not None, "an event on a text is recorded with its embedding"
        return generation.space.map_one(event.vector)

    async def _append(self, user_id: str, events: Sequence[Event]) -> list[Event]:
        async with self._locked(user_id):
            state = await self._load(user_id)
            appended = await self._store.append_events(user_id, events)
            self._refresh(state)
            for event in appended:
                self._apply(state, event)
            self._count_cached(len(appended))
            self._popularity.add(appended)
        if appended:
            await self._advance(appended[-1].revision)
        return appended

    async def _delete(self, user_id: str) -> list[Event]:
        async with self._locked(user_id):
            state = await self._load(user_id)
            await self._store.delete_user(user_id)
            del self._cache[user_id]
            self._count_cached(-_size(state))
            self._popularity.remove(state.events)
        return state.events

    async def _advance(self, revision: int) -> None:
        if revision > self._revision:
            self._revision = revision
            async with self._advanced:
                self._advanced.notify_all()

    async def _load(self, user_id: str) -> UserState:
        """Return the cached state, or read it; called with the user's lock."""
        if (state := self._cache.get(user_id)) is None:
            events = await self._store.events(user_id)
            state = self._fold(events)
            self._cache[user_id] = state
            self._count_cached(_size(state))
        self._cache.move_to_end(user_id)
        return state

    def _fold(self, events: list[Event]) -> UserState:
        vector = fold(events, self.vector_of, self._dim, self._decay)
        space, revision = self._catalogue.generation.space, self._catalogue.revision
        return UserState(events, vector, space, revision, seen_item_ids(events))

    def _refresh(self, state: UserState) -> None:
        """Make the vector anew if an item of the history, or the vector space, has changed since it was made."""
        generation, revision = self._catalogue.generation, self._catalogue.revision
        if state.space is generation.space and state.catalog_revision == revision:
            return
        changed = any(generation.revision(item_id) > state.catalog_revision for item_id in state.seen_item_ids)
        if changed or state.space is not generation.space:
            state.vector = fold(state.events, self.vector_of, self._dim, self._decay)
        state.space, state.catalog_revision = generation.space, revision

    def _apply(self, state: UserState, event: Event) -> None:
        state.events.append(event)
        if event.item_id is not None:
            state.seen_item_ids.add(event.item_id)
        vector = self.vector_of(event)
        if vector is not None and event.effective_weight:
            state.vector = state.vector.moved(event.effective_weight, vector, self._decay)

    def _count_cached(self, change: int) -> None:
        """Keep what is cached within its bound, by letting go of the users not asked for the longest."""
        self._cached_count += change
        while self._cached_count > self._max_cached_events:
            user_id, state = next(iter(self._cache.items()))
            if user_id in self._locks:  # in use: a later call lets go of it
                break
            del self._cache[user_id]
            self._cached_count -= _size(state)

    @asynccontextmanager
    async def _locked(self, user_id: str) -> AsyncIterator[None]:
        """Let one call at a time load or change a user."""
        lock = self._locks.setdefault(user_id, _UserLock())
        lock.user_count += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.user_count -= 1
            if not lock.user_count:
                del self._locks[user_id]


def _size(state: UserState) -> int:
    """Return what a state counts against the bound: its events, and one for itself."""
    return 1 + len(state.events)


class _UserLock:
    """A user's lock, and how many calls hold it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.user_count = 0
