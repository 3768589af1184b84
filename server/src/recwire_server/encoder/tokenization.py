"""A text becomes sequences of token ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tokenizers import Encoding, Tokenizer

from recwire_server.encoder import InvalidTextError, Purpose, TokenizedText
from recwire_server.encoder.chunk import Span, cut_evenly


class Tokenization:
    """Turns texts into token ids. Safe to call from many threads: the tokenizer is set up once, in `load`."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, prefixes: Mapping[Purpose, str]) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._prefixes = prefixes
        self._stand_in = _stand_in(tokenizer)

    @classmethod
    def load(cls, tokenizer_file: Path, max_tokens: int, prefixes: Mapping[Purpose, str]) -> Self:
        """Return the tokenization of a tokenizer.json.

        max_tokens: of one sequence, special tokens included. prefixes: put before a text by purpose. Raises
        ValueError for a prefix that takes most of a sequence, plain Exception for a file that the tokenizers
        library cannot use.
        """
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        # Sources bake padding and another length into tokenizer.json.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        for prefix in filter(None, prefixes.values()):
            # Every chunk begins with it, and a text that is mostly prefix says little.
            if (token_count := len(tokenizer.encode(prefix).ids)) > max_tokens // 2:
                raise ValueError(f"the prefix {prefix!r} takes {token_count:,} of {max_tokens:,} tokens")
        return cls(tokenizer, max_tokens, prefixes)

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        """Return the tokens of each text, in order. Raises InvalidTextError for a text that is not Unicode."""
        _check_unicode(texts)
        prefix = self._prefixes[purpose]
        prefixed = [prefix + text for text in texts]
        # One text is the usual request, and the way of a batch costs it more.
        encodings = self._tokenizer.encode_batch(prefixed) if len(texts) != 1 else [self._tokenizer.encode(*prefixed)]
        return [
            self._tokenized(text, len(prefix), encoding) for text, encoding in zip(prefixed, encodings, strict=True)
        ]

    def _tokenized(self, text: str, prefix_length: int, encoding: Encoding) -> TokenizedText:
        # A tokenizer without special tokens, as decoders have, makes no token of an empty text.
        ids = encoding.ids or [self._stand_in]
        if len(ids) <= self._max_tokens:
            return TokenizedText([ids], head=ids, token_count=len(ids))
        special = encoding.special_tokens_mask
        start, end = special.index(0), len(ids) - special[::-1].index(0)
        spans = [Span(*offsets) for offsets in encoding.offsets[start:end]]
        prefix_tokens = next(index for index, span in enumerate(spans) if span.end > prefix_length)
        before, body, after = ids[: start + prefix_tokens], ids[start + prefix_tokens : end], ids[end:]
        room = self._max_tokens - len(before) - len(after)
        chunks = cut_evenly(text, spans[prefix_tokens:], room)
        return TokenizedText(
            [[*before, *body[chunk.start : chunk.stop], *after] for chunk in chunks],
            head=[*before, *body[:room], *after],
            token_count=len(ids),
        )


def _stand_in(tokenizer: Tokenizer) -> int:
    """Return the token for a text that has none: in decoders the mark of a text's beginning or end, or both."""
    added = tokenizer.get_added_tokens_decoder()
    return min((token_id for token_id, token in added.items() if token.special), default=0)


def _check_unicode(texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidTextError(index, error.start) from error
