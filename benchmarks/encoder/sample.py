"""The texts that the encoders are compared on: real items of catalogues, drawn by seed."""

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.served import SHARED_DATA
from recwire_server import demo

SEED = 7
CATALOGUES = ("ml-latest-small", "amazon18-office")  # titles with genres; product texts, a median of 74 words
TEXTS, CALIBRATION_TEXTS = 600, 150  # of each catalogue
# Of the catalogue that ships, which has 320 items.
SHIPPED_TEXTS, SHIPPED_CALIBRATION_TEXTS = 240, 80


@dataclass(frozen=True)
class Sample:
    """data: names the catalogues. texts: shuffled. calibration: texts of the same catalogues, none of them in `texts`,
    for rivals that calibrate."""

    data: str
    texts: Sequence[str]
    calibration: Sequence[str]


def draw_sample(folder: Path = SHARED_DATA, size: int = TEXTS) -> Sample:
    """Return `size` texts of each of the catalogues in the folder; where they are not there, of the one that ships."""
    chance = random.Random(SEED)
    files = [folder / name / "items.jsonl.gz" for name in CATALOGUES]
    if all(file.is_file() for file in files):
        return _draw(chance, " and ".join(CATALOGUES), [_texts(file) for file in files], size, CALIBRATION_TEXTS)
    items = map(json.loads, demo.catalogue().read_text(encoding="utf-8").splitlines())
    shipped = [f"{item['title']}. {item['text']}" for item in items]
    data = "the shipped catalogue, with parts of which recwire calibrates its int8"
    return _draw(chance, data, [shipped], min(size, SHIPPED_TEXTS), SHIPPED_CALIBRATION_TEXTS)


def _draw(
    chance: random.Random, data: str, catalogues: Sequence[Sequence[str]], size: int, calibration_size: int
) -> Sample:
    texts = [text for catalogue in catalogues for text in chance.sample(catalogue, size)]
    drawn = set(texts)
    others = [[text for text in catalogue if text not in drawn] for catalogue in catalogues]
    calibration = [text for rest in others for text in chance.sample(rest, calibration_size)]
    chance.shuffle(texts)  # any part of them is to be of all catalogues
    return Sample(data, texts, calibration)


def _texts(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]
