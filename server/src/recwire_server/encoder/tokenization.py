"""A text becomes sequences of token ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer

from recwire_server.encoder import InvalidTextError, Purpose, TokenizedText


class Tokenization:
    """Turns texts into token ids. Safe to call from many threads: the tokenizer is set up once, in `load`."""

    def __init__(self, tokenizer: Tokenizer, prefixes: Mapping[Purpose, str]) -> None:
        self._tokenizer = tokenizer
        self._prefixes = prefixes
        self._special_token_count = tokenizer.num_special_tokens_to_add(is_pair=False)

    @classmethod
    def load(cls, tokenizer_file: Path, max_tokens: int, prefixes: Mapping[Purpose, str]) -> Self:
        """Return the tokenization of a tokenizer.json.

        max_tokens: of one sequence, special tokens included. prefixes: put before a text by purpose. Raises plain
        Exception for a file that the tokenizers library cannot use.
        """
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        # Sources bake padding and another length into tokenizer.json. With truncation on, the overflow comes
        # back as further chunks, and all three ways of LongText are made from those.
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens, stride=0)
        return cls(tokenizer, prefixes)

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        """Return the tokens of each text, in order. Raises InvalidTextError for a text that is not Unicode."""
        _check_unicode(texts)
        prefix = self._prefixes[purpose]
        tokenized = []
        for encoding in self._tokenizer.encode_batch([prefix + text for text in texts]):
            chunks = [encoding.ids, *(overflow.ids for overflow in encoding.overflowing)]
            repeated = self._special_token_count * (len(chunks) - 1)
            tokenized.append(TokenizedText(chunks, sum(map(len, chunks)) - repeated))
        return tokenized


def _check_unicode(texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidTextError(index, error.start) from error
