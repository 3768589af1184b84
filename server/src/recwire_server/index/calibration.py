"""How wide a graph must be searched to find the share of true neighbours that is promised."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recwire_server.vector import Vectors

K = 10  # recall is promised for the first ten
QUERIES_PER_KIND = 40
MEAN_SIZES = (1, 5, 20)  # items a query is the mean of: users are mixtures, and those are the hard queries
# Scores are told apart down to here: products in float32, and hnswlib's 1 - score, err less.
TIE = 1e-6
EF_LADDER = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Calibration:
    """The search width and the recall@10 it was measured to have."""

    ef_search: int
    recall: float


def calibrate(hnsw: Any, rows: Vectors, recall_target: float, seed: int) -> Calibration:
    """Return the least width whose recall@10 on means of 1, 5 and 20 items reaches the target, or the greatest.

    rows: (count, dim) what the graph holds. An item as near as the true tenth is as good as it: of a hundred items with
    one text, any ten are found.
    """
    queries = _mixtures(rows, np.random.default_rng(seed))
    k = min(K, len(rows))
    scores = queries @ rows.T
    kth = np.partition(scores, len(rows) - k, axis=1)[:, len(rows) - k, np.newaxis]
    least = kth - TIE * np.maximum(1, np.abs(kth))
    for ef_search in EF_LADDER:
        hnsw.set_ef(ef_search)
        _, distances = hnsw.knn_query(queries, k, num_threads=1)
        recall = float((1 - distances >= least).mean())  # hnswlib's distance is 1 - score
        if recall >= recall_target:
            break
    return Calibration(ef_search, recall)


def _mixtures(rows: Vectors, random: np.random.Generator) -> Vectors:
    """Return (3 * QUERIES_PER_KIND, dim) means of random rows."""
    kinds = [rows[random.integers(len(rows), size=(QUERIES_PER_KIND, size))].mean(axis=1) for size in MEAN_SIZES]
    return np.concatenate(kinds).astype(np.float32)
