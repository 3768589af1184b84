"""Embeddings that were made before."""

from collections import OrderedDict
from dataclasses import dataclass

from recwire_server.encoder import Embedding

# What an entry takes beside its vector's numbers, measured, and rounded up for the allocator: the key, the embedding,
# the array's header, the place in the table.
ENTRY_BYTES = 400


@dataclass(frozen=True)
class CacheStats:
    """What a cache has done since the start, in texts, and what it holds now."""

    hit_count: int
    miss_count: int
    eviction_count: int
    entry_count: int
    size_bytes: int


class EmbeddingCache:
    """Holds the embeddings that were asked for last, within max_bytes; 0 holds none. Belongs to the event loop.

    A key stands for everything that an embedding depends on, so that a hit is exactly what the encoder would make.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, Embedding] = OrderedDict()  # the last asked for is last
        self._size_bytes = 0
        self._hit_count = self._miss_count = self._eviction_count = 0

    def get(self, key: bytes) -> Embedding | None:
        """Return the embedding under a key, or None; counted as a hit or a miss."""
        embedding = self._entries.get(key)
        if embedding is None:
            self._miss_count += 1
        else:
            self._hit_count += 1
            self._entries.move_to_end(key)
        return embedding

    def peek(self, key: bytes) -> Embedding | None:
        """Return the embedding under a key, or None; not counted."""
        return self._entries.get(key)

    def put(self, key: bytes, embedding: Embedding) -> None:
        """Hold an embedding under a key that is not held; one that is larger than the whole cache is not."""
        if _size_bytes(embedding) > self._max_bytes:
            return
        self._entries[key] = embedding
        self._size_bytes += _size_bytes(embedding)
        while self._size_bytes > self._max_bytes:
            _, evicted = self._entries.popitem(last=False)
            self._size_bytes -= _size_bytes(evicted)
            self._eviction_count += 1

    @property
    def stats(self) -> CacheStats:
        """What it has done so far."""
        return CacheStats(self._hit_count, self._miss_count, self._eviction_count, len(self._entries), self._size_bytes)


def _size_bytes(embedding: Embedding) -> int:
    return embedding.vector.nbytes + ENTRY_BYTES
