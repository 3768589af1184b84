"""Makes generations: from the store at start, and anew when the serving one no longer fits its items."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np

from recwire_server.generation import Generation
from recwire_server.index import snapshot
from recwire_server.index.hnsw import HnswIndex
from recwire_server.item_number import ItemNumbers
from recwire_server.store import ItemVector, Store, StoredSpace
from recwire_server.vector_space import VectorSpace

logger = logging.getLogger(__name__)

# A mean of fewer items says more about their topics than about the language that all share.
CENTRED_MIN_ITEMS = 1_000
# The mean is estimated anew when the catalogue has grown by this factor: each time costs a pass over all items.
MEAN_GROWTH = 2.0
# A graph is made anew when searches scan more than this share of its rows beside it, or when more than this share of
# rows has been removed: hnswlib's latency is 1.6 times at 50 % removed, and past that it explodes.
STALE_SHARE = 0.3


class GenerationBuilder:
    """Builds generations on another thread. Keeps no items itself.

    centred: whether the vector space is centred once there are CENTRED_MIN_ITEMS items.
    exact_search_max_items: up to this many items no graph is built.
    """

    def __init__(
        self,
        store: Store,
        snapshot_dir: Path,
        item_numbers: ItemNumbers,
        *,
        dim: int,
        centred: bool,
        recall_target: float,
        exact_search_max_items: int,
        thread_count: int,
    ) -> None:
        self._store = store
        self._snapshot_dir = snapshot_dir
        self._item_numbers = item_numbers
        self._dim = dim
        self._centred = centred
        self._recall_target = recall_target
        self._exact_search_max_items = exact_search_max_items
        self._thread_count = thread_count

    async def restore(self) -> Generation:
        """Return the generation that served last, with the items of now; a plain, empty one the first time."""
        stored = await self._store.space()
        if stored is None:
            stored = StoredSpace(generation=1, mean=None, mean_item_count=0)
            await self._store.put_space(stored)
        items = await asyncio.to_thread(self._read_items)
        generation = await asyncio.to_thread(self._restored, stored, items)
        if self._space_is_due(generation):  # before anything is answered: at once
            stored = self._next_space(generation, items)
            await self._store.put_space(stored)
            generation = await asyncio.to_thread(self._filled, stored, items)
        return generation

    def is_due(self, generation: Generation) -> bool:
        """Return whether the generation should be replaced."""
        return self._space_is_due(generation) or self._graph_is_due(generation)

    async def build(self, serving: Generation) -> Generation:
        """Return the generation to follow the serving one, made of what the store has now, with its graph.

        Its snapshot is written and its number is kept by the store before it is returned.
        """
        items = await asyncio.to_thread(self._read_items)
        stored = self._next_space(serving, items)
        generation = await asyncio.to_thread(self._filled, stored, items)
        if len(generation) > self._exact_search_max_items:
            await asyncio.to_thread(self._add_graph, generation)
        await self._store.put_space(stored)
        return generation

    def _space_is_due(self, generation: Generation) -> bool:
        if not self._wants_centred(len(generation)):
            return not self._centred and generation.space.mean is not None
        return len(generation) >= MEAN_GROWTH * generation.mean_item_count

    def _wants_centred(self, item_count: int) -> bool:
        return self._centred and item_count >= CENTRED_MIN_ITEMS

    def _graph_is_due(self, generation: Generation) -> bool:
        if len(generation) <= self._exact_search_max_items:
            return False
        stale = max(self._exact_search_max_items, STALE_SHARE * len(generation))
        return generation.index.scanned_count > stale or generation.removed_count > stale

    def _next_space(self, serving: Generation, items: list[ItemVector]) -> StoredSpace:
        """Return the space of the next generation: the serving one's, unless it is due."""
        live = [item.vector for item in items if not item.deleted]
        mean, mean_item_count = serving.space.mean, serving.mean_item_count
        if self._space_is_due(serving):
            mean, mean_item_count = None, 0
            if self._wants_centred(len(live)):
                mean = np.stack(live).mean(axis=0, dtype=np.float64).astype(np.float32)
                mean_item_count = len(live)
        return StoredSpace(serving.number + 1, mean, mean_item_count)

    def _read_items(self) -> list[ItemVector]:
        return list(self._store.item_vectors())

    def _restored(self, stored: StoredSpace, items: list[ItemVector]) -> Generation:
        found = snapshot.load(self._snapshot_dir, stored.generation, self._dim)
        if found is None:
            return self._filled(stored, items)
        generation = self._empty(stored)
        generation.restore(items, found)
        return generation

    def _filled(self, stored: StoredSpace, items: list[ItemVector]) -> Generation:
        generation = self._empty(stored)
        generation.put(items)
        return generation

    def _empty(self, stored: StoredSpace) -> Generation:
        index = HnswIndex(self._dim, self._recall_target)
        space = VectorSpace(stored.mean)
        return Generation(stored.generation, space, stored.mean_item_count, index, self._item_numbers)

    def _add_graph(self, generation: Generation) -> None:
        graph = generation.index.build(self._thread_count)
        keys = generation.keys(graph.labels.tolist())
        try:
            snapshot.save(self._snapshot_dir, generation.number, self._dim, graph, keys)
        except (OSError, RuntimeError) as error:  # the graph serves all the same; half a file must not fill the disk
            logger.error("the index snapshot could not be written; the next start builds the index anew: %s", error)
            with suppress(OSError):
                snapshot.discard(self._snapshot_dir)
        generation.index.adopt(graph)
        logger.info("graph of %d items, recall %.3f at ef %d", len(keys), *_figures(generation.index))


def _figures(index: HnswIndex) -> tuple[float, int]:
    assert index.calibration is not None
    return index.calibration.recall, index.calibration.ef_search
