"""Makes generations: from the store at start, and anew when the serving one no longer fits its items."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from recwire_server.event import Event
from recwire_server.generation import Generation
from recwire_server.index import snapshot
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.sealed import BuildRules, SearchMethod
from recwire_server.index.snapshot import Draft, Snapshot
from recwire_server.index.snapshot_folder import remove_others
from recwire_server.item_number import ItemNumbers
from recwire_server.store import ItemVector, Store, StoredSpace
from recwire_server.user_sample import UserSample
from recwire_server.vector_space import VectorSpace

logger = logging.getLogger(__name__)

# A mean of fewer items says more about their topics than about the language that all share.
CENTRED_MIN_ITEMS = 1_000
# The mean is estimated anew when the catalogue has grown by this factor: each time costs a pass over all items.
MEAN_GROWTH = 2.0
# An index is made anew when more than this share of its rows has been removed: hnswlib's latency is 1.6 times at 50 %
# removed, and past that it explodes. A graph, also when so many rows have come since.
STALE_SHARE = 0.3
# So is one whose searches score many rows because they are unlike those that it was made of.
# A graph that costs more than a scan is tried again when the catalogue has grown by this factor.
GRAPH_GROWTH = 1.5
ITEMS_A_PIECE = 4_096  # read from the store, and held, at a time
ITEMS_A_PROGRESS_LINE = 100_000


class GenerationBuilder:
    """Builds generations on another thread. Keeps no items itself.

    centred: whether the vector space is centred once there are CENTRED_MIN_ITEMS items. exact_search_max_items: up to
    this many items every row is scored. rules: how the index of more is made.
    """

    def __init__(
        self,
        store: Store,
        user_sample: UserSample,
        snapshot_dir: Path,
        item_numbers: ItemNumbers,
        *,
        dim: int,
        centred: bool,
        exact_search_max_items: int,
        rules: BuildRules,
    ) -> None:
        self._store = store
        self._user_sample = user_sample
        self._snapshot_dir = snapshot_dir
        self._item_numbers = item_numbers
        self._dim = dim
        self._centred = centred
        self._exact_search_max_items = exact_search_max_items
        self._rules = rules

    async def restore(self) -> Generation:
        """Return the generation that served last, with the items of now; a plain, empty one the first time."""
        stored = await self._store.space()
        if stored is None:
            stored = StoredSpace(generation=1, mean=None, mean_item_count=0)
            await self._store.put_space(stored)
        generation = await asyncio.to_thread(self._restored, stored)
        await asyncio.to_thread(remove_others, self._snapshot_dir, stored.generation)  # what a crash left
        if self._is_due_at_start(generation):  # before anything is answered: at once
            logger.info("building the index of %d items before they serve", len(generation))
            scanned = replace(self._rules, method=SearchMethod.SCAN)  # a graph takes long; it can come while they serve
            generation = await self._build(generation, scanned)
        return generation

    def is_due(self, generation: Generation) -> bool:
        """Return whether the generation should be replaced."""
        return self._space_is_due(generation) or self._index_is_due(generation)

    def tail_is_due(self, generation: Generation) -> bool:
        """Return whether the rows that every search scores should have codes."""
        index = generation.index
        return index.sealed is not None and index.scored_count > self._exact_search_max_items

    async def build(self, serving: Generation) -> Generation:
        """Return the generation to follow the serving one, made of what the store has now, with its index.

        Its snapshot is written and its number is kept by the store before it is returned.
        """
        return await self._build(serving, self._rules)

    async def _build(self, serving: Generation, rules: BuildRules) -> Generation:
        histories = await self._user_sample.draw()
        stored = await asyncio.to_thread(self._next_space, serving)
        generation = await asyncio.to_thread(self._built, stored, histories, rules)
        await self._store.put_space(stored)
        await asyncio.to_thread(remove_others, self._snapshot_dir, stored.generation)
        return generation

    def _is_due_at_start(self, generation: Generation) -> bool:
        """Return whether to build before serving: where answers would change, or be slow, soon after."""
        is_large = len(generation) > self._exact_search_max_items
        return self._space_is_due(generation) or (is_large and generation.index.sealed is None)

    def _space_is_due(self, generation: Generation) -> bool:
        if not self._wants_centred(len(generation)):
            return not self._centred and generation.space.mean is not None
        return len(generation) >= MEAN_GROWTH * generation.mean_item_count

    def _wants_centred(self, item_count: int) -> bool:
        return self._centred and item_count >= CENTRED_MIN_ITEMS

    def _index_is_due(self, generation: Generation) -> bool:
        index, item_count = generation.index, len(generation)
        stale = max(self._exact_search_max_items, STALE_SHARE * item_count)
        if generation.removed_count > stale:  # of few items too, which are replaced again and again
            return True
        if item_count <= self._exact_search_max_items:
            return index.sealed is not None and item_count <= self._exact_search_max_items // 2
        if index.sealed is None:
            return True
        if index.foreign_count > self._exact_search_max_items:
            return True
        if index.sealed.graph:
            return index.unsealed_count > stale
        graph_is_due = self._rules.method is not SearchMethod.SCAN and item_count >= self._rules.graph_min_rows
        tried = index.sealed.calibration.graph_s > 0
        return graph_is_due and (not tried or item_count >= GRAPH_GROWTH * index.sealed.row_count)

    def _next_space(self, serving: Generation) -> StoredSpace:
        """Return the space of the next generation: the serving one's, unless it is due."""
        mean, mean_item_count = serving.space.mean, serving.mean_item_count
        if self._space_is_due(serving):
            mean, mean_item_count = None, 0
            if self._wants_centred(len(serving)):
                total = np.zeros(self._dim)
                for item in self._store.item_vectors():
                    if not item.deleted and item.vector is not None:
                        total += item.vector
                        mean_item_count += 1
                mean = (total / mean_item_count).astype(np.float32) if mean_item_count else None
        return StoredSpace(serving.number + 1, mean, mean_item_count)

    def _restored(self, stored: StoredSpace) -> Generation:
        space = VectorSpace(stored.mean).fingerprint
        found = snapshot.load(self._snapshot_dir, stored.generation, self._dim, space)
        if found is not None:
            try:
                return self._from_snapshot(stored, found)
            except ValueError as error:
                logger.warning("the index snapshot does not fit the items and is built anew: %s", error)
        generation = self._empty(stored)
        for items in _pieces(self._store.item_vectors()):
            generation.put(items)
        return generation

    def _from_snapshot(self, stored: StoredSpace, found: Snapshot) -> Generation:
        generation = self._empty(stored)
        found.map_rows(generation.index)
        newest_revision = max((revision for _, revision in found.keys), default=0)
        generation.restore(self._store.item_vectors(newest_revision), found.keys)
        generation.index.adopt(found.sealed(generation.index))
        return generation

    def _built(self, stored: StoredSpace, histories: Sequence[Sequence[Event]], rules: BuildRules) -> Generation:
        """Return a generation of all items; with its snapshot, if it is large, where the disk takes one."""
        generation = self._empty(stored)
        index, draft = generation.index, Draft(self._snapshot_dir, stored.generation, generation.space.fingerprint)
        for items in _pieces(self._store.item_vectors()):
            generation.put(items)
            if len(generation) > self._exact_search_max_items:
                draft.spill(index)
        if len(generation) > self._exact_search_max_items:
            index.adopt(index.sealed_anew(rules, self._user_sample.vectors(histories, generation)))
            draft.save(index, generation.keys())
        return generation

    def _empty(self, stored: StoredSpace) -> Generation:
        index = AdaptiveIndex(self._dim)
        space = VectorSpace(stored.mean)
        return Generation(stored.generation, space, stored.mean_item_count, index, self._item_numbers)


def _pieces(items: Iterable[ItemVector]) -> Iterator[list[ItemVector]]:
    """Yield the items, so many at a time."""
    iterator, count = iter(items), 0
    while piece := list(islice(iterator, ITEMS_A_PIECE)):
        yield piece
        count += len(piece)
        if count % ITEMS_A_PROGRESS_LINE < len(piece):
            logger.info("%d items read for the index", count)
