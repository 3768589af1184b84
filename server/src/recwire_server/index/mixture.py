"""Queries as users make them, for a catalogue that may have no users yet."""

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator

from recwire_server.index import Labels
from recwire_server.index.matrix import Matrix
from recwire_server.vector import Vectors

QUERIES_PER_KIND = 150  # their mean recall is known to about .007
SAMPLE_ROWS = 20_000  # what mixtures are made of
TOPIC_COUNT = 500  # items, each with the nearest to it in such a sample
TOPIC_ROWS = 100
# By name: topics, and events on each. Vectors that lie between many topics are the hard ones to search for.
KINDS: Mapping[str, tuple[int, int]] = {
    "1 item": (1, 1),
    "20 items, 1 topic": (1, 20),
    "50 items, 5 topics": (5, 10),
    "200 items, 20 topics": (20, 10),
    "20 items, 20 topics": (20, 1),
}


def sampled_rows(matrix: Matrix, chance: Generator) -> Vectors:
    """Return (count, dim) rows that are not removed, at most SAMPLE_ROWS."""
    labels = matrix.live_labels()
    if len(labels) > SAMPLE_ROWS:
        labels = np.sort(chance.choice(labels, SAMPLE_ROWS, replace=False))
    return matrix.take(labels)


def mixtures(rows: Vectors, chance: Generator) -> dict[str, Vectors]:
    """Return (QUERIES_PER_KIND, dim) means of rows (count, dim) for each of KINDS."""
    centres = chance.choice(len(rows), min(TOPIC_COUNT, len(rows)), replace=False).tolist()
    topics = np.stack([_nearest(rows, centre) for centre in centres])
    return {name: _mixtures(rows, topics, *kind, chance) for name, kind in KINDS.items()}


def _mixtures(rows: Vectors, topics: Labels, topic_count: int, events: int, chance: Generator) -> Vectors:
    """Return means of so many topics, with so many events on each. topics: (count, TOPIC_ROWS) rows of each."""
    chosen = topics[chance.integers(len(topics), size=(QUERIES_PER_KIND, topic_count))]
    picked = chance.integers(topics.shape[1], size=(QUERIES_PER_KIND, topic_count, events))
    labels = np.take_along_axis(chosen, picked, axis=2).reshape(QUERIES_PER_KIND, -1)
    return np.stack([rows[of_query].mean(axis=0) for of_query in labels])


def _nearest(rows: Vectors, centre: int) -> Labels:
    """Return the labels of the TOPIC_ROWS rows nearest to one."""
    count = min(TOPIC_ROWS, len(rows))
    return np.argpartition(rows @ rows[centre], len(rows) - count)[len(rows) - count :]
