"""Weights to integers, each input's rounding error made up for by the inputs after it (Frantar et al. 2022, GPTQ)."""

import numpy as np
from numpy.typing import NDArray

from recwire_server.model.int8.site import Floats

# Of the mean of the diagonal, added to it: keeps the inverse finite where channels are silent or move together.
DAMPING = 0.01
BLOCK_ROWS = 64  # within a block errors are spread row by row, beyond it by one product a block


def round_weights(weights: Floats, gram: NDArray[np.float64], scales: Floats, levels: int) -> NDArray[np.int8]:
    """Return the integers of the weights, (inputs, outputs), -levels to levels.

    gram: (inputs, inputs), the sum of x x^T over the inputs x that the weights meet. scales: (outputs,).
    """
    upper = _inverse_factor(gram)
    remaining, integers = weights.copy(), np.empty(weights.shape, np.int8)
    for start in range(0, len(weights), BLOCK_ROWS):
        end = min(start + BLOCK_ROWS, len(weights))
        errors = np.empty((end - start, weights.shape[1]), np.float32)
        for row in range(start, end):
            rounded = np.clip(np.rint(remaining[row] / scales), -levels, levels)
            integers[row] = rounded
            errors[row - start] = (remaining[row] - rounded * scales) / upper[row, row]
            remaining[row + 1 : end] -= np.outer(upper[row, row + 1 : end], errors[row - start])
        remaining[end:] -= upper[start:end, end:].T @ errors
    return integers


def _inverse_factor(gram: NDArray[np.float64]) -> Floats:
    """Return the upper triangular U with U^T U the inverse of the damped gram."""
    damped = gram + np.eye(len(gram)) * max(DAMPING * float(np.mean(np.diag(gram))), 1e-12)
    return np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
