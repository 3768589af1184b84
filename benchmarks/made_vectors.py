"""Item vectors as `catalogue_vectors` makes them, kept from one run to the next, and users of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from benchmarks import catalogue_vectors
from benchmarks.served import SHARED_DATA, default_encoder
from recwire_server.encoder import Encoder
from recwire_server.setting_source import load_settings
from recwire_server.vector import Vectors

TOPICS_A_USER, EVENTS_A_TOPIC = 5, 10
TOPIC_ROWS = 100  # the nearest to its centre
SAMPLED_ROWS = 20_000  # of which topics are made


@dataclass(frozen=True)
class MadeVectors:
    """rows: (count, dim) float32 as items serve, centred and of unit length. made_of: of what, in words."""

    rows: Vectors
    made_of: str


def default_vectors(count: int, encoded_count: int) -> MadeVectors:
    """Return vectors that the default model has made."""
    return made_vectors(count, encoded_count, default_encoder(), SHARED_DATA, load_settings({}).cache_dir)


def made_vectors(count: int, encoded_count: int, encoder: Encoder, data: Path, cache_dir: Path) -> MadeVectors:
    """Return vectors of so many items, of which so many are encoded; made once, then read from the cache folder, until
    anything changes that they depend on. data: the folder of real catalogues, which need not be there."""
    file = cache_dir / "benchmark-vectors" / f"{_key(count, encoded_count, encoder, data)}.npz"
    if not file.is_file():
        made = catalogue_vectors.make(count, encoded_count, encoder, data)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished.npz")
        np.savez(unfinished, rows=made.rows, made_of=made.made_of)
        unfinished.rename(file)
    with np.load(file) as kept:
        return MadeVectors(kept["rows"], str(kept["made_of"]))


def topical_histories(rows: Vectors, user_count: int, chance: Generator) -> list[list[int]]:
    """Return the rows of the items in the history of each user: ten of each of five topics."""
    sample = rows[:SAMPLED_ROWS]
    return [_history(sample, chance) for _ in range(user_count)]


def _history(sample: Vectors, chance: Generator) -> list[int]:
    history: list[int] = []
    for centre in chance.choice(len(sample), TOPICS_A_USER, replace=False):
        near = np.argsort(-(sample @ sample[centre]))[:TOPIC_ROWS]
        new = np.setdiff1d(near, history)
        history += chance.choice(new, EVENTS_A_TOPIC, replace=False).tolist()
    return history


def _key(count: int, encoded_count: int, encoder: Encoder, data: Path) -> str:
    """Return a name that is another one where the vectors would be."""
    digest = hashlib.sha256(f"{count} {encoded_count} {encoder.model}".encode())
    for file in [Path(catalogue_vectors.__file__), *_files(data)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _files(data: Path) -> Sequence[Path]:
    return sorted(data.glob("*/items.jsonl.gz"))
