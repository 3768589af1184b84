"""Where a long text is cut into chunks."""

import unicodedata
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple


class Span(NamedTuple):
    """The characters of a text that a token stands for, `end` excluded; some tokens stand for parts of one."""

    start: int
    end: int


def cut_evenly(text: str, tokens: Sequence[Span], max_chunk_tokens: int) -> list[range]:
    """Return the tokens of each chunk, in order: as few chunks as words allow, of nearly the same length.

    Each chunk weighs the same in the text's embedding, so a short last one would count far too much. A chunk
    ends between words where there is such a place within half a chunk; else, as in scripts without spaces,
    between characters; else between any tokens.
    """
    chunks, start = [], 0
    while len(tokens) - start > max_chunk_tokens:
        left = len(tokens) - start
        target = start + ceil(left / ceil(left / max_chunk_tokens))
        lowest = target - (target - start) // 2
        cut = _nearest_cut(text, tokens, target, range(lowest, start + max_chunk_tokens + 1))
        chunks.append(range(start, cut))
        start = cut
    return [*chunks, range(start, len(tokens))]


def _nearest_cut(text: str, tokens: Sequence[Span], target: int, allowed: range) -> int:
    nearest = sorted(allowed, key=lambda cut: abs(cut - target))
    for divides in (_divides_word, _divides_character):
        for cut in nearest:
            if not divides(text, tokens[cut - 1], tokens[cut]):
                return cut
    return target


def _divides_word(text: str, before: Span, after: Span) -> bool:
    # What lies between two tokens is white space, or what the tokenizer leaves out.
    seam = text[max(0, before.end - 1) : after.start + 1]
    return _divides_character(text, before, after) or not any(map(_ends_word, seam))


def _divides_character(text: str, before: Span, after: Span) -> bool:
    return after.start < before.end


def _ends_word(character: str) -> bool:
    # Not "is no letter": vowel signs, joiners and emoji sequences hold a word together as well.
    return character.isspace() or unicodedata.category(character)[0] == "P"
