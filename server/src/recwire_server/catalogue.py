"""The catalogue: items, durable and recommendable."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from recwire_server import memory
from recwire_server.clock import Clock
from recwire_server.encoder import Priority, Purpose
from recwire_server.encoder.embedder import Embedder
from recwire_server.generation import Generation
from recwire_server.generation_builder import GenerationBuilder
from recwire_server.item import EmbeddedItem, Item
from recwire_server.store import ItemVector, Store
from recwire_server.task import TaskKeeper
from recwire_server.text import clean, content_hash
from recwire_server.vector import Vector

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deleted:
    """How many items were in the catalogue, and its revision after they went."""

    count: int
    revision: int


@dataclass(frozen=True)
class Upserted:
    """The catalogue's revision; and of those items whose texts another has too, that other's id, by item id."""

    revision: int
    duplicates: Mapping[str, str]


class Catalogue:
    """Adds, deletes and returns items. What it acknowledges is durable and in the next answer.

    Owns the serving generation. Belongs to the event loop; new generations are built on another thread and swapped in.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        builder: GenerationBuilder,
        tasks: TaskKeeper,
        clock: Clock = time.time_ns,
    ) -> None:
        self._clock = clock
        self._store = store
        self._embedder = embedder
        self._builder = builder
        self._tasks = tasks
        self._generation: Generation | None = None
        self._revision = 0
        self._writing = asyncio.Lock()  # commits and their effects happen in one order
        self._building: asyncio.Task[None] | None = None
        # While a generation is being built: the changes since, with their revisions. It may have read some of them.
        self._missed: list[tuple[int, Callable[[Generation], None]]] | None = None
        self._coding: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bring back what the store has."""
        self._revision = await self._store.catalog_revision()
        self._generation = await self._builder.restore()
        self._build_if_due()

    @property
    def generation(self) -> Generation:
        """The items as they serve now. Do not keep it across an await."""
        assert self._generation is not None, "start() comes first"
        return self._generation

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return self._revision

    @property
    def is_rebuilding(self) -> bool:
        """Whether the next generation is being built."""
        return self._building is not None

    async def upsert(self, items: Sequence[Item], deadline_s: float = inf) -> Upserted:
        """Add or replace items, all or none.

        The last of several with one id wins. Texts that have not changed are not embedded again. Once begun, it is
        finished even if the caller goes away. deadline_s: see Embedder.embed; then nothing has begun.
        """
        newest = list({item.item_id: item for item in items}.values())
        embedded = await self._embed(newest, deadline_s)
        return await self._tasks.run(self._put(embedded))

    async def delete(self, item_ids: Sequence[str]) -> Deleted:
        """Delete items; unknown ids do not count. Once begun, it is finished even if the caller goes away."""
        return await self._tasks.run(self._delete(item_ids))

    async def items(self, item_ids: Sequence[str]) -> Mapping[str, Item]:
        """Return those of the items that are in the catalogue, by id."""
        found = await self._store.items(item_ids)
        return {item_id: embedded.item for item_id, embedded in found.items()}

    async def list_items(self, after_item_id: str, count: int) -> list[Item]:
        """Return at most count items with ids past after_item_id, in the order of the ids' UTF-8 bytes."""
        return [embedded.item for embedded in await self._store.list_items(after_item_id, count)]

    async def _embed(self, items: Sequence[Item], deadline_s: float) -> list[EmbeddedItem]:
        known = await self._store.items([item.item_id for item in items])
        vectors: dict[str, Vector] = {}
        pieces: list[str] = []
        for item in items:
            old = known.get(item.item_id)
            if item.vector is not None:
                vectors[item.item_id] = item.vector
            elif old is not None and old.item.vector is None and old.item.pieces == item.pieces:
                vectors[item.item_id] = old.vector
            else:
                pieces.extend(map(clean, item.pieces))
        embeddings = iter(
            await self._embedder.embed(pieces, Purpose.DOCUMENT, priority=Priority.BULK, deadline_s=deadline_s)
        )
        for item in items:
            if item.item_id not in vectors:
                parts = [next(embeddings).vector for _ in item.pieces]
                vectors[item.item_id] = np.stack(parts).mean(axis=0, dtype=np.float64).astype(np.float32)
        return [EmbeddedItem(item, vectors[item.item_id], _text_hash(item)) for item in items]

    async def _put(self, embedded: Sequence[EmbeddedItem]) -> Upserted:
        async with self._writing:
            duplicates = await self._duplicates(embedded)
            now_ns = self._clock()
            revision = await self._store.put_items(embedded, now_ns)
            # By id within a revision, as the store gives them back: a restart finds the same order.
            entries = sorted((_item_vector(one, revision, now_ns) for one in embedded), key=lambda entry: entry.item_id)
            self._apply(revision, lambda generation: generation.put(entries))
        return Upserted(revision, duplicates)

    async def _duplicates(self, embedded: Sequence[EmbeddedItem]) -> dict[str, str]:
        """Return, of the items whose texts another item has too, that other's id."""
        hashes = {one.text_hash for one in embedded if one.text_hash is not None}
        first = dict(await self._store.items_with_text(hashes)) if hashes else {}
        duplicates = {}
        for one in embedded:
            if one.text_hash is not None:
                other_id = first.setdefault(one.text_hash, one.item.item_id)
                if other_id != one.item.item_id:
                    duplicates[one.item.item_id] = other_id
        return duplicates

    async def _delete(self, item_ids: Sequence[str]) -> Deleted:
        async with self._writing:
            revision, deleted = await self._store.delete_items(item_ids)
            self._apply(revision, lambda generation: generation.delete(deleted, revision))
        return Deleted(len(deleted), revision)

    def _apply(self, revision: int, change: Callable[[Generation], None]) -> None:
        if revision > self.generation.newest_revision:  # it may have been made of this already
            change(self.generation)
        self._revision = revision
        if self._missed is not None:
            self._missed.append((revision, change))
        self._build_if_due()

    def _build_if_due(self) -> None:
        if self._building is None and self._builder.is_due(self.generation):
            self._missed = []
            self._building = self._tasks.spawn(self._build())
        if self._coding is None and self._builder.tail_is_due(self.generation):
            self._coding = self._tasks.spawn(self._code_tail())

    async def _build(self) -> None:
        try:
            generation = await self._builder.build(self.generation)
            assert self._missed is not None
            for revision, change in self._missed:
                if revision > generation.newest_revision:
                    change(generation)
            self._generation = generation
            told = (generation.number, len(generation), generation.space.name, generation.index.method)
            logger.info("generation %d serves %d items, vector space %s, search method %s", *told)
        except Exception:  # the old generation serves on; the next write tries again
            logger.exception("generation %d could not be built", self.generation.number + 1)
            self._missed = self._building = None
        else:
            self._missed = self._building = None
            self._build_if_due()  # so much may have come meanwhile
            await asyncio.to_thread(memory.give_back_free)  # what the old one took, and building the new one

    async def _code_tail(self) -> None:
        """Give the rows that every search scores codes."""
        index = self.generation.index
        try:
            index.adopt_segments(await asyncio.to_thread(index.code_tail))
        except Exception:  # they are scored on; the next write tries again
            logger.exception("rows of generation %d could not be given codes", self.generation.number)
            self._coding = None
        else:
            self._coding = None
            self._build_if_due()


def _text_hash(item: Item) -> bytes | None:
    return content_hash(item.pieces) if item.pieces else None


def _item_vector(embedded: EmbeddedItem, revision: int, write_time_ns: int) -> ItemVector:
    item = embedded.item
    return ItemVector(
        item.item_id,
        embedded.vector,
        revision,
        deleted=False,
        publish_time_ns=item.publish_time_ns,
        expire_time_ns=item.expire_time_ns,
        write_time_ns=write_time_ns,
        attributes=item.attributes,
    )
