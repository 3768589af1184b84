"""The texts that an export calibrates with, and those that it is checked with."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from recwire_server import demo
from recwire_server.encoder import Purpose, TokenizedText
from recwire_server.model import ModelExportError

SEED = 7
# Fewer say little of the ten nearest neighbours.
MIN_TEXTS = 64
# Texts joined to about the model's limit, so that late positions are calibrated as well.
LONG_TEXTS = 40


@dataclass(frozen=True)
class TextSplit:
    """calibration: what activations are measured with. check: others, which the result is measured with."""

    calibration: Sequence[str]
    check: Sequence[str]


def built_in_texts() -> list[str]:
    """Return the built-in mix: titles, queries, sentences and product texts of many subjects, lengths and scripts."""
    lines = (resources.files("recwire_server.model") / "texts.txt").read_text(encoding="utf-8").splitlines()
    items = map(json.loads, Path(str(demo.catalogue())).read_text(encoding="utf-8").splitlines())
    return [*lines, *(f"{item['title']}. {item['text']}" for item in items)]


def read_texts(path: Path) -> list[str]:
    """Return the file's lines that are not blank. Raises ModelExportError if there are too few, or it is no text."""
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelExportError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if len(texts) < MIN_TEXTS:
        raise ModelExportError(f"{path} has {len(texts)} texts, one a line; at least {MIN_TEXTS} are needed")
    return texts


def split_texts(texts: Sequence[str]) -> TextSplit:
    """Return the texts in two random halves; the same texts give the same halves."""
    shuffled = random.Random(SEED).sample(texts, len(texts))
    half = len(shuffled) // 2
    return TextSplit(shuffled[:half], shuffled[half:])


def long_texts(texts: Sequence[str], word_count: int) -> list[str]:
    """Return texts of at least `word_count` words each, joined from random ones; the same texts give the same."""
    chance = random.Random(SEED)
    joined = []
    for _ in range(LONG_TEXTS):
        parts: list[str] = []
        while sum(len(part.split()) for part in parts) < word_count:
            parts.append(chance.choice(texts))
        joined.append(" ".join(parts))
    return joined


def tokenize_beginnings(
    tokenize: Callable[[Sequence[str], Purpose], list[TokenizedText]], texts: Sequence[str]
) -> list[Sequence[int]]:
    """Return each text's tokens as far as one sequence holds them, every other text's as a query's."""
    sequences: dict[int, Sequence[int]] = {}
    for first, purpose in enumerate((Purpose.DOCUMENT, Purpose.QUERY)):
        tokenized = tokenize(texts[first::2], purpose)
        sequences.update(zip(range(first, len(texts), 2), (one.head for one in tokenized), strict=True))
    return [sequences[number] for number in range(len(texts))]
