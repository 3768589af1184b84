"""Vectors of catalogues of any size, and of users: what recall is measured on.

Items: the office products and films of `../shared/data` where they lie beside the project, else the catalogue that
ships; then products that are made up of their titles, a head of one and a tail of another, all of them through the
encoder. Beyond what is encoded, vectors are real ones with jitter: to each a share of the difference of two others is
added, which leads in the directions in which items really differ. None is isotropic noise.
"""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recwire_server import demo
from recwire_server.encoder import Encoder, Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.index.mixture import mixtures
from recwire_server.vector import Vectors
from recwire_server.vector_space import VectorSpace

SEED = 11
JITTER = 0.35  # of the difference of two others
TEXT_CHARS = 300  # of a real item: what comes later changes little and takes long
TEXTS_A_BATCH = 256
MAX_USERS = 300  # of each catalogue
MIN_EVENTS = 5  # of such a user


@dataclass(frozen=True)
class Catalogue:
    """Items as they serve. rows: (count, dim) centred and of unit length. users: (count, dim) by the name of the data
    that their histories are from, the plain means of what they did."""

    rows: Vectors
    users: dict[str, Vectors]
    made_of: str

    def held_out(self, seed: int) -> dict[str, Vectors]:
        """Return queries by kind: mixtures that only this seed makes, and half of the users."""
        return mixtures(self.rows[:20_000], np.random.default_rng(seed)) | {
            name: users[1::2] for name, users in self.users.items()
        }

    @property
    def known_users(self) -> Vectors:
        """The other half of the users, which a server would know when it calibrates."""
        dim = self.rows.shape[1]
        return np.concatenate([np.zeros((0, dim), np.float32), *(users[::2] for users in self.users.values())])


def make(count: int, encoded_count: int, encoder: Encoder, data: Path, workers: int = 1) -> Catalogue:
    """Return a catalogue of so many items, of which so many are encoded, the others have jitter. data: the folder of
    real catalogues, which need not be there."""
    real = _real_items(data)
    texts, owners = _texts(real, encoded_count)
    encoded = _encoded(texts, encoder, workers)
    rows = _with_jitter(encoded, count)
    centred = VectorSpace(rows.mean(axis=0, dtype=np.float64).astype(np.float32)).map(rows)
    rows_of = {name: {id_: row for row, (of, id_) in enumerate(owners) if of == name} for name in real}
    users = {
        name: _user_vectors(data / name, rows_of[name], centred)
        for name in real
        if (data / name / "interactions.tsv.gz").is_file()
    }
    names = ", ".join(real)
    made_of = f"{min(count, encoded_count):,} texts encoded (real items of {names}, and titles made of theirs)"
    if count > encoded_count:
        made_of += f", {count - encoded_count:,} of these vectors with jitter"
    return Catalogue(centred, users, made_of)


def _real_items(data: Path) -> dict[str, list[dict[str, str]]]:
    """Return the items by catalogue."""
    files = {name: data / name / "items.jsonl.gz" for name in ("amazon18-office", "ml-latest-small")}
    if all(file.is_file() for file in files.values()):
        return {name: list(_lines(file)) for name, file in files.items()}
    return {"shipped": list(_lines(Path(str(demo.catalogue()))))}


def _lines(file: Path) -> Iterator[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _texts(real: dict[str, list[dict[str, str]]], count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return texts, and of those of real items, which come first, whose they are: catalogue and item id."""
    chance = random.Random(SEED)
    owners, texts = [], []
    for name, items in real.items():
        for item in items[: count // len(real)]:
            owners.append((name, item.get("id", "")))
            texts.append((item.get("text") or item["title"])[:TEXT_CHARS])
    titles = [item["title"].split() for items in real.values() for item in items if item["title"].split()]
    made = dict.fromkeys(texts)
    while len(made) < count:
        head, tail = chance.choice(titles), chance.choice(titles)
        words = head[: chance.randint(1, len(head))] + tail[chance.randrange(len(tail)) :]
        made[" ".join(words)] = None
    rest = [text for text in made if text not in set(texts)]
    return texts + rest[: count - len(texts)], owners


def _encoded(texts: Sequence[str], encoder: Encoder, workers: int) -> Vectors:
    by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    batches = [by_length[first : first + TEXTS_A_BATCH] for first in range(0, len(texts), TEXTS_A_BATCH)]
    vectors = np.empty((len(texts), encoder.dim), np.float32)

    def run(places: list[int]) -> None:
        found = encode(encoder, [texts[place] for place in places], Purpose.DOCUMENT)
        vectors[places] = np.stack([one.vector for one in found])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, batches))
    return vectors


def _with_jitter(vectors: Vectors, count: int) -> Vectors:
    if count <= len(vectors):
        return vectors[:count]
    chance = np.random.default_rng(SEED)
    rows = np.empty((count, vectors.shape[1]), np.float32)
    rows[: len(vectors)] = vectors
    for first in range(len(vectors), count, len(vectors)):
        piece = rows[first : first + len(vectors)]
        one, other = chance.integers(len(vectors), size=(2, len(piece)))
        piece[:] = vectors[: len(piece)] + np.float32(JITTER) * (vectors[one] - vectors[other])
        piece /= np.linalg.norm(piece, axis=1, keepdims=True)
    return rows


def _user_vectors(folder: Path, rows_by_id: dict[str, int], rows: Vectors) -> Vectors:
    """Return (count, dim) means of what users did, of those with enough events on items that are there."""
    histories: dict[str, list[int]] = {}
    with gzip.open(folder / "interactions.tsv.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            user_id, item_id, *_ = line.split("\t")
            if item_id in rows_by_id:
                histories.setdefault(user_id, []).append(rows_by_id[item_id])
    known = [history for history in histories.values() if len(history) >= MIN_EVENTS][:MAX_USERS]
    return np.array([rows[history].mean(axis=0) for history in known], np.float32).reshape(-1, rows.shape[1])
