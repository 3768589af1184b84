"""Sequences of token ids as the model's inputs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def padded(sequences: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
    """Return input_ids and attention_mask, both (len(sequences), longest) int64, padded on the right with zeros."""
    shape = (len(sequences), max(map(len, sequences)))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return {"input_ids": ids, "attention_mask": mask}
