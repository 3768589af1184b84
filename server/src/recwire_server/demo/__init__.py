"""A small catalogue and what 20 people did with it, for trying recwire where no other data are at hand.

320 invented items, 64 each of shopping, news, music, video and books, and 20 users with recognisable tastes.
Read in this order: `catalogue.jsonl`, the items; `behaviour.tsv`, the events. `recwire-server import` takes
both without any option.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable


def catalogue() -> Traversable:
    """Return the file of items, for `import items`."""
    return files(__name__) / "catalogue.jsonl"


def behaviour() -> Traversable:
    """Return the file of events, for `import events`."""
    return files(__name__) / "behaviour.tsv"
