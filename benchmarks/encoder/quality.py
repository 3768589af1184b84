"""How near a text encoder's vectors are to the float32 ones, and whether they depend on the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recwire_server.encoder import Vector
from recwire_server.model.fidelity import BATCHED_SEQUENCES, Run, measure_batch_differences, neighbours_kept


@dataclass(frozen=True)
class Quality:
    """Of `text_count` texts, each embedded alone.

    mean_cosine, min_cosine: to the reference's vector of the same text. difference: largest absolute difference of any
    component from it. neighbours_kept: share of the reference's ten nearest texts that are found. batch_difference:
    largest absolute difference of any component between a text alone and in any batch, over `batched_text_count` texts;
    batch_differences: the same by kind of batch. None and empty: not applicable.
    """

    text_count: int
    mean_cosine: float
    min_cosine: float
    difference: float
    neighbours_kept: float | None = None
    batched_text_count: int = 0
    batch_difference: float | None = None
    batch_differences: Mapping[str, float] = field(default_factory=dict)


def measure_quality(
    run: Run,
    alone: Vector,
    reference: Vector,
    sequences: Sequence[Sequence[int]],
    max_tokens: int,
    batched_text_count: int,
) -> Quality:
    """Return the quality of a way to run sequences; the first batched_text_count of them are run in batches.

    alone, reference: (len(sequences), dim), the vectors of each sequence run alone, and its float32 ones.
    """
    batched = min(batched_text_count, len(sequences))
    differences: dict[str, float] = {}
    for start in range(0, batched, BATCHED_SEQUENCES):
        some = slice(start, min(start + BATCHED_SEQUENCES, batched))
        for kind, worst in measure_batch_differences(run, sequences[some], alone[some], max_tokens).items():
            differences[kind] = max(worst, differences.get(kind, 0.0))
    return replace(
        measure_nearness(alone, reference),
        neighbours_kept=round(neighbours_kept(alone, reference), 4),
        batched_text_count=batched,
        batch_difference=max(differences.values()),
        batch_differences=differences,
    )


def measure_nearness(vectors: Vector, reference: Vector) -> Quality:
    """Return what can be told of vectors that are too few to have neighbours; see Quality."""
    cosines = np.sum(vectors * reference, axis=1)
    return Quality(
        text_count=len(vectors),
        mean_cosine=round(float(np.mean(cosines)), 6),
        min_cosine=round(float(np.min(cosines)), 6),
        difference=float(np.max(np.abs(vectors - reference))),
    )


def run_alone(run: Run, sequences: Sequence[Sequence[int]]) -> Vector:
    """Return the vectors of the sequences, each run alone, (len(sequences), dim)."""
    return np.concatenate([run([sequence]) for sequence in sequences])
