"""What is compared: a way from texts to embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recwire_server.encoder import Vector


@dataclass(frozen=True)
class TextEncoder:
    """A way from texts to embeddings, on one thread.

    encode: returns the texts' vectors as a user of it gets them, (len(texts), dim) of unit length. run: the same for
    sequences of token ids as one batch; None: it takes only texts. note: what a reader of its figures has to know.
    """

    encode: Callable[[Sequence[str]], Vector]
    run: Callable[[Sequence[Sequence[int]]], Vector] | None
    note: str = ""
