"""Sequences of real token ids, all of one length."""

from collections.abc import Sequence
from itertools import chain, cycle, islice


def cut_sequences(texts: Sequence[Sequence[int]], count: int, token_count: int) -> list[list[int]]:
    """Return `count` sequences of `token_count` tokens: texts one after the other, cut wherever that length is reached.

    texts: token ids, each between its first and last special token, as every sequence then is too. They begin anew
    where they do not last.
    """
    first, last = texts[0][0], texts[0][-1]
    tokens = cycle(chain.from_iterable(text[1:-1] for text in texts))
    return [[first, *islice(tokens, token_count - 2), last] for _ in range(count)]
