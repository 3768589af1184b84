"""What a recommendation is: takes what users do, answers what to show."""

import hashlib
import time
from array import array
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import inf

from recwire_server.catalogue import Catalogue
from recwire_server.clock import Clock
from recwire_server.encoder import Embedding, LongText, Priority, Purpose
from recwire_server.encoder.embedder import Embedder
from recwire_server.errors import NotFoundError, PreconditionError
from recwire_server.event import Event
from recwire_server.history import History
from recwire_server.keyed_lock import KeyedLocks
from recwire_server.ranking import Query, Ranker, Ranking
from recwire_server.reason import Reason
from recwire_server.recommendation import (
    Answer,
    ItemTarget,
    Options,
    Recommendation,
    SessionTarget,
    Strategy,
    Target,
    TextTarget,
    UserTarget,
    VectorTarget,
)
from recwire_server.search_turn import SearchTurns
from recwire_server.served import ServedHistory
from recwire_server.text import clean
from recwire_server.user import Users, seen_item_ids
from recwire_server.vector import Vector


@dataclass(frozen=True)
class Update:
    """What became of a user's new events."""

    revision: int
    applied_count: int
    duplicate_event_ids: Sequence[str]
    pending_item_ids: Sequence[str]


class Recommender:
    """Embeds texts, records events, and recommends. Knows nothing of protobuf or SQL. Belongs to the event loop.

    turns: by user, of those who change what is stored. on_update, on_answer: told of each.
    """

    def __init__(
        self,
        embedder: Embedder,
        catalogue: Catalogue,
        users: Users,
        served: ServedHistory,
        turns: KeyedLocks,
        ranker: Ranker,
        search_turns: SearchTurns,
        clock: Clock = time.time_ns,
        *,
        on_update: Callable[[Update], None] = lambda update: None,
        on_answer: Callable[[Answer], None] = lambda answer: None,
    ) -> None:
        self._on_update = on_update
        self._on_answer = on_answer
        self._embedder = embedder
        self._catalogue = catalogue
        self._users = users
        self._ranker = ranker
        self._search_turns = search_turns
        self._served = served
        self._turns = turns
        self._clock = clock

    async def embed(
        self,
        texts: Sequence[str],
        purpose: Purpose,
        long_text: LongText,
        priority: Priority,
        deadline_s: float,
    ) -> list[Embedding]:
        """Return one embedding a text, in order; see Embedder.embed."""
        return await self._embedder.embed(texts, purpose, long_text, priority=priority, deadline_s=deadline_s)

    async def update_user(self, user_id: str, events: Sequence[Event], deadline_s: float = inf) -> Update:
        """Record a user's events in order, all or none; durable and in the next answer once this returns.

        Calls on one user take effect in the order in which they were begun. deadline_s: a time.monotonic() at which
        what has not begun to be written never is; nor are events recorded whose texts were not embedded by then.
        """
        async with self._turns.held(user_id):  # a text takes longer to embed than the next call's item
            appended = await self._users.append(user_id, await self._embedded(events, deadline_s), deadline_s)
        revision = appended[-1].revision if appended else (await self._users.state(user_id)).revision
        new_event_ids = {event.event_id for event in appended}
        update = Update(
            revision=revision,
            applied_count=len(appended),
            duplicate_event_ids=_duplicates(events, new_event_ids),
            pending_item_ids=self._pending(events),
        )
        self._on_update(update)
        return update

    async def recommend(self, target: Target, options: Options, timeout_s: float, deadline_s: float = inf) -> Answer:
        """Return the best items for a target.

        timeout_s: how long to wait for a user's min_revision. deadline_s: see Embedder.embed and SearchTurns.turn.
        Raises NotFoundError for an unknown item as the target, PreconditionError for a revision that did not come.
        """
        revision = 0
        turn = self._search_turns.turn(deadline_s)
        match target:
            case UserTarget(user_id, min_revision):
                await self._wait_for(min_revision, timeout_s)
                await self._users.state(user_id)  # so that no turn waits for the disk
                async with turn:
                    revision, ranked = await self._rank_user(user_id, options)
            case SessionTarget(events):
                embedded = await self._embedded(events, deadline_s)
                in_order = sorted(_without(embedded, options.ignore_event_ids), key=lambda event: event.place)
                async with turn:
                    ranked = self._rank_history(self._users.history(in_order), seen_item_ids(in_order), set(), options)
            case ItemTarget(item_id):
                async with turn:
                    ranked = self._rank_vector(self._item_vector(item_id), {item_id}, options)
            case TextTarget(text):
                (embedding,) = await self._embedder.embed([clean(text)], Purpose.QUERY, deadline_s=deadline_s)
                async with turn:
                    ranked = self._rank_vector(self._mapped(embedding.vector), set(), options)
            case VectorTarget(vector):
                async with turn:
                    ranked = self._rank_vector(self._mapped(vector), set(), options)
        recommendations = ranked.recommendations
        if options.include_items:
            recommendations = await self._with_items(recommendations)
        answer = Answer(
            recommendations=recommendations,
            revision=revision,
            recommendation_id=_recommendation_id(target, revision, ranked.recommendations),
            shortfall=ranked.shortfall,
        )
        self._on_answer(answer)
        return answer

    async def _wait_for(self, min_revision: int, timeout_s: float) -> None:
        if not await self._users.wait_for(min_revision, timeout_s):
            raise PreconditionError(
                Reason.REVISION_NOT_REACHED,
                "min_revision",
                f"min_revision {min_revision} was not reached within {timeout_s:.3f} s: take it from an answer of this"
                " deployment",
            )

    async def _rank_user(self, user_id: str, options: Options) -> tuple[int, Ranking]:
        """Return the user's revision, and what to show."""
        state = await self._users.state(user_id)
        revision, history, seen = state.revision, state.history, state.seen_item_ids
        ignored: list[Event] = []
        if options.ignore_event_ids:
            if history.older_event_count:
                stored = await self._users.stored(user_id)
                revision, events = stored.revision, stored.events
            else:
                events = history.events
            ignored = [event for event in events if event.event_id in options.ignore_event_ids]
            events = _without(events, options.ignore_event_ids)
            history, seen = self._users.history(events), seen_item_ids(events)
        now_ns = self._clock()
        rotated = set()
        if options.rotation_ns:
            rotated = self._served.since(user_id, now_ns - options.rotation_ns)
        ranking = self._rank_history(history, seen, rotated, options, ignored)
        if not options.ignore_event_ids:  # a question, of which nothing is shown
            self._served.add(user_id, [one.item_id for one in ranking.recommendations], now_ns)
        return revision, ranking

    def _rank_history(
        self,
        history: History,
        seen: AbstractSet[str],
        rotated: AbstractSet[str],
        options: Options,
        ignored: Sequence[Event] = (),
    ) -> Ranking:
        """Rank for someone with this history.

        rotated: what is left out for having been served lately. ignored: events that make nothing popular.
        """
        generation = self._catalogue.generation
        excluded: AbstractSet[str] = options.exclude_item_ids | rotated
        if options.exclude_seen:
            excluded = excluded | seen
        if history.vector.is_zero:
            return self._ranker.cold(generation, excluded, options, self._clock(), ignored)
        terms = history.terms() if options.explain else ()
        query = Query(history.vector.value, terms, Strategy.PERSONALIZED, excluded)
        return self._ranker.nearest(generation, query, options, self._clock(), ignored)

    def _rank_vector(self, vector: Vector, excluded: set[str], options: Options) -> Ranking:
        query = Query(vector.astype("float64"), (), Strategy.SIMILAR, excluded | options.exclude_item_ids)
        return self._ranker.nearest(self._catalogue.generation, query, options, self._clock())

    def _item_vector(self, item_id: str) -> Vector:
        generation = self._catalogue.generation
        vector = generation.vector(item_id) if item_id in generation else None
        if vector is None:
            raise NotFoundError("item", item_id, f"item {item_id!r} is not in the catalogue")
        return vector

    def _mapped(self, vector: Vector) -> Vector:
        return self._catalogue.generation.space.map_one(vector)

    async def _embedded(self, events: Sequence[Event], deadline_s: float) -> list[Event]:
        """Return the events with the embeddings of their texts."""
        texts = [clean(event.text) for event in events if event.text is not None]
        embeddings = iter(await self._embedder.embed(texts, Purpose.QUERY, deadline_s=deadline_s))
        return [event if event.text is None else replace(event, vector=next(embeddings).vector) for event in events]

    def _pending(self, events: Sequence[Event]) -> list[str]:
        """Return the items of these events that are not in the catalogue yet, each once, in order."""
        generation = self._catalogue.generation
        item_ids = dict.fromkeys(event.item_id for event in events if event.item_id is not None)
        return [item_id for item_id in item_ids if not generation.has_vector(item_id)]

    async def _with_items(self, recommendations: Sequence[Recommendation]) -> list[Recommendation]:
        items = await self._catalogue.items([recommendation.item_id for recommendation in recommendations])
        return [recommendation._replace(item=items.get(recommendation.item_id)) for recommendation in recommendations]


def _without(events: Sequence[Event], event_ids: AbstractSet[str]) -> list[Event]:
    return [event for event in events if event.event_id not in event_ids]


def _duplicates(events: Sequence[Event], new_event_ids: set[str]) -> list[str]:
    """Return the ids of the events that were not new, in order: known before, or a second time in the same call."""
    duplicates = []
    for event in events:
        if event.event_id in new_event_ids:
            new_event_ids.remove(event.event_id)
        else:
            duplicates.append(event.event_id)
    return duplicates


def _recommendation_id(target: Target, revision: int, recommendations: Sequence[Recommendation]) -> str:
    """Return a name of the answer: the same for the same state and request, for answers are deterministic."""
    subject = target if isinstance(target, UserTarget | ItemTarget | TextTarget) else type(target).__name__
    content = f"{subject!r} {revision} {[one.item_id for one in recommendations]!r}".encode()
    scores = array("d", [one.score for one in recommendations])
    return hashlib.blake2b(content + scores.tobytes(), digest_size=12).hexdigest()
