"""Where a long text is cut."""

import re

import pytest

from recwire_server.encoder.chunk import Span, cut_evenly


def pieces(text: str, chunks: list[range], tokens: list[Span]) -> list[str]:
    """The text of each chunk."""
    return [text[tokens[chunk.start].start : tokens[chunk.stop - 1].end] for chunk in chunks]


def characters(text: str) -> list[Span]:
    """One token a character that is not white space."""
    return [Span(*match.span()) for match in re.finditer(r"\S", text)]


def cut(text: str, max_chunk_tokens: int) -> list[str]:
    tokens = characters(text)
    return pieces(text, cut_evenly(text, tokens, max_chunk_tokens), tokens)


@pytest.mark.parametrize("length", [1, 9, 10, 11, 20, 21, 99, 100, 101, 257])
def test_chunks_are_few_and_even(length):
    """Without words there are as few chunks as can be, whose lengths differ by at most one, and nothing is lost."""
    chunks = cut_evenly("x" * length, characters("x" * length), 10)

    lengths = [len(chunk) for chunk in chunks]
    assert len(chunks) == -(-length // 10)
    assert max(lengths) - min(lengths) <= 1
    assert [token for chunk in chunks for token in chunk] == list(range(length))


def test_cut_is_between_words_near_the_middle():
    """A cut moves to the nearest end of a word, in either direction."""
    assert cut("abcdef ghi jklm", 12) == ["abcdef", "ghi jklm"]
    assert cut("abc defg hijklm", 12) == ["abc defg", "hijklm"]
    assert cut("state-of-the-art", 12) == ["state-of", "-the-art"]


def test_word_longer_than_a_chunk_is_cut_inside():
    """A single word that does not fit is cut evenly."""
    assert cut("abcdefghijklmnop", 12) == ["abcdefgh", "ijklmnop"]


def test_far_away_word_end_is_no_reason_for_a_tiny_chunk():
    """A chunk is never cut to less than half of its even length for a word's sake."""
    assert cut("a bcdefghijklmnop", 12) == ["a bcdefgh", "ijklmnop"]


def test_chinese_is_cut_at_punctuation_where_it_is_near():
    """In a script without spaces, a punctuation mark ends a word, and any character may begin a chunk."""
    assert cut("一款高性能的电脑。一款时尚的背包", 12) == ["一款高性能的电脑", "。一款时尚的背包"]
    assert cut("一款高性能的电脑一款时尚的背包和手机", 12) == ["一款高性能的电脑一", "款时尚的背包和手机"]


def test_marks_and_joiners_do_not_end_a_word():
    """Vowel signs, combining accents and emoji sequences stay with what they belong to."""
    assert cut("हिन्दी किताब", 10) == ["हिन्दी", "किताब"]
    assert cut("cafe\u0301s cafe\u0301s", 10) == ["cafe\u0301s", "cafe\u0301s"]
    assert cut("👨‍👩‍👧 👩‍🚒🧯🔥", 8) == ["👨‍👩‍👧", "👩‍🚒🧯🔥"]


def test_character_of_several_tokens_is_not_divided():
    """Where a character has many tokens, as in byte-level tokenizers, a cut is between characters."""
    text = "😀" * 5
    tokens = [Span(index, index + 1) for index in range(5) for _ in range(4)]

    chunks = cut_evenly(text, tokens, 13)

    assert [len(chunk) for chunk in chunks] == [8, 12]
    assert pieces(text, chunks, tokens) == ["😀" * 2, "😀" * 3]
