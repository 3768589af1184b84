"""Sequences' vectors become a text's embedding; and the whole way in the calling thread."""

from collections.abc import Sequence

import numpy as np

from recwire_server.encoder import (
    Embedding,
    Encoder,
    LongText,
    Purpose,
    TextTooLongError,
    TokenizedText,
    Vector,
)

# Sequences of near length, run together. More would only pad more, and more tokens leave the processor's caches:
# `benchmarks encoder` has 141 texts a CPU second within these bounds, 131 in batches of 8 of any length.
MAX_BATCH_SIZE = 8
MAX_BATCH_TOKENS = 256


def encode(
    encoder: Encoder, texts: Sequence[str], purpose: Purpose, long_text: LongText = LongText.MEAN_OF_CHUNKS
) -> list[Embedding]:
    """Return one embedding a text, in order, made in the calling thread.

    The same text and purpose give the same vector, whatever else is in `texts`. Raises TextTooLongError if
    `long_text` is REJECT and a text is too long, InvalidTextError for a text that is not Unicode.
    """
    tokenized = encoder.tokenize(texts, purpose)
    kept = [kept_sequences(index, text, long_text, encoder.max_tokens) for index, text in enumerate(tokenized)]
    vectors = iter(_run(encoder, [sequence for sequences in kept for sequence in sequences]))
    return [
        make_embedding(text, [next(vectors) for _ in sequences])
        for text, sequences in zip(tokenized, kept, strict=True)
    ]


def kept_sequences(
    text_index: int, text: TokenizedText, long_text: LongText, max_tokens: int
) -> Sequence[Sequence[int]]:
    """Return the sequences that a text's embedding is made of. Raises TextTooLongError, see LongText."""
    if long_text is LongText.TRUNCATE:
        return [text.head]
    if long_text is LongText.REJECT and len(text.sequences) > 1:
        raise TextTooLongError(text_index, text.token_count, max_tokens)
    return text.sequences


def make_embedding(text: TokenizedText, vectors: Sequence[Vector]) -> Embedding:
    """Return a text's embedding: the mean of its kept sequences' vectors, each weighing the same, of unit length."""
    return Embedding(_mean_direction(vectors), text.token_count, truncated=len(vectors) < len(text.sequences))


def _run(encoder: Encoder, sequences: Sequence[Sequence[int]]) -> list[Vector]:
    vectors: dict[int, Vector] = {}
    for batch in _batches([len(sequence) for sequence in sequences], encoder.batch_invariant):
        vectors.update(zip(batch, encoder.run([sequences[index] for index in batch]), strict=True))
    return [vectors[index] for index in range(len(sequences))]


def _batches(lengths: Sequence[int], batch_invariant: bool) -> list[list[int]]:
    """Return which sequences to run together, shortest first."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Where the vector depends on what else is in the batch, and on padding, each sequence runs alone.
        most = min(MAX_BATCH_SIZE, MAX_BATCH_TOKENS // lengths[index]) if batch_invariant else 1
        if batches and len(batches[-1]) < most:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _mean_direction(vectors: Sequence[Vector]) -> Vector:
    if len(vectors) == 1:
        return vectors[0]  # of unit length already
    mean: Vector = np.asarray(np.mean(vectors, axis=0, dtype=np.float32))
    direction: Vector = mean / np.linalg.norm(mean)
    return direction
