"""What can be recommended, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass

from recwire_server.vector import Vector

AttributeValue = str | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it was sent.

    vector: (dim,) what the client sent in place of texts; None: the texts are embedded.
    publish_time_ns, expire_time_ns: nanoseconds since 1970; None: at once, never.
    """

    item_id: str
    title: str
    texts: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    vector: Vector | None
    publish_time_ns: int | None
    expire_time_ns: int | None

    @property
    def pieces(self) -> tuple[str, ...]:
        """The texts that the item's vector is the mean of: a title that is not among them comes first."""
        if self.title and self.title not in self.texts:
            return (self.title, *self.texts)
        return self.texts


@dataclass(frozen=True, slots=True)
class EmbeddedItem:
    """An item with its vector.

    vector: (dim,) before the vector space: the client's, or the mean of the pieces' embeddings.
    text_hash: of its texts as they are embedded, 8 bytes; None: it has none.
    revision: the catalogue's when it was written, given by the store; 0 before it is stored.
    """

    item: Item
    vector: Vector
    text_hash: bytes | None = None
    revision: int = 0
