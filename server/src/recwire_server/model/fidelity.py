"""How near a model is to the float32 original, and how much a vector depends on the batch."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from recwire_server.encoder import Vector
from recwire_server.model.manifest import Fidelity

NEIGHBOURS = 10
# Sequences that a measurement of batches takes, and of them those that are also padded to the model's limit: padding
# to 512 tokens costs 50 times a title.
BATCHED_SEQUENCES, PADDED_SEQUENCES = 64, 8
# Scores this near are float32's rounding of the same score: titles that differ in case alone, say.
TIE = 1e-6

Run = Callable[[Sequence[Sequence[int]]], Vector]
"""Returns the vectors of the sequences as one batch, (len(sequences), dim) of unit length; as `Encoder.run`."""


def measure_fidelity(run: Run, original: Vector, sequences: Sequence[Sequence[int]], max_tokens: int) -> Fidelity:
    """Return the fidelity of a model.

    original: the vectors of the float32 original, (len(sequences) or more, dim), the sequences' own first; what comes
    after them are only neighbours to be found. Each sequence is run alone and in batches.
    """
    count = len(sequences)
    vectors = np.concatenate([run([sequence]) for sequence in sequences])
    cosines = np.sum(vectors * original[:count], axis=1)
    return Fidelity(
        mean_cosine=round(float(np.mean(cosines)), 6),
        min_cosine=round(float(np.min(cosines)), 6),
        neighbours_kept=round(neighbours_kept(vectors, original), 4),
        batch_differences=measure_batch_differences(run, sequences, vectors, max_tokens),
        text_count=count,
    )


def measure_batch_differences(
    run: Run, sequences: Sequence[Sequence[int]], alone: Vector, max_tokens: int
) -> dict[str, float]:
    """Return the largest absolute difference of any component between alone and in a batch, by kind of batch.

    alone: the vector of each sequence run alone. Takes the first sequences only, see BATCHED_SEQUENCES.
    """
    some = sequences[:BATCHED_SEQUENCES]
    differences = {}
    for size, in_order in product((2, 8, 32), (True, False)):
        order = sorted(range(len(some)), key=lambda index: len(some[index])) if in_order else list(range(len(some)))
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        of_batches = [_difference(run([some[index] for index in batch]), alone[batch]) for batch in batches]
        # Not max(), which passes over NaN.
        worst = float(np.max(of_batches))
        differences[f"batches of {size}, {'sorted by length' if in_order else 'unsorted'}"] = worst
    few = some[:PADDED_SEQUENCES]
    # A sequence of the limit's length beside them has them padded to it.
    padding = [few[0][0]] * max_tokens
    differences["padded to the maximum"] = _difference(run([*few, padding])[: len(few)], alone[: len(few)])
    return differences


def _difference(vectors: Vector, others: Vector) -> float:
    return float(np.max(np.abs(vectors - others)))


def neighbours_kept(vectors: Vector, original: Vector) -> float:
    """Return the share of the neighbours that the vectors find among the same texts that are the original's nearest.

    vectors: (count, dim); original: (count or more, dim), the vectors' own first. Whatever has no vector of its own is
    found, or not, by the original's. Of texts with the same vector any is as near.
    """
    everything = np.concatenate([vectors, original[len(vectors) :]])
    k = min(NEIGHBOURS, len(everything) - 1)
    found = np.argpartition(-_scores(vectors, everything), k - 1, axis=1)[:, :k]
    scores = _scores(original[: len(vectors)], original)
    least = np.partition(scores, -k, axis=1)[:, [-k]]
    return float(np.mean(np.take_along_axis(scores, found, axis=1) >= least - TIE))


def _scores(queries: Vector, everything: Vector) -> Vector:
    """Return the score of each query to everything, the least to itself, which is in the same place."""
    scores: Vector = queries @ everything.T
    np.fill_diagonal(scores, -np.inf)
    return scores
