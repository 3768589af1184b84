"""restart: from the start of the process to the line that it serves, with 100,000 items and 100,000 users.

After a stop, and after updates and a kill -9, in turn. Items have vectors of their own and an index; each user has ten
events on items. The split is the server's own, from its log: `items_s` until the items can be searched, `popularity_s`
for the counts of all events; `rest_s` is the process, its imports and the model. Files are in the system's cache.
"""

import random
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np
from rich.table import Table

from benchmarks.served import served, settled
from recwire import Client, Event, Item, UserUpdate, to_bytes

SEED = 7
ITEM_COUNT, USER_COUNT, EVENTS_A_USER = 100_000, 100_000, 10
TOPICS, TOPIC_DIMS = 20, 24
ROUNDS = 5
UPDATES_BEFORE_KILL = 2_000
SPLIT = re.compile(r"items are back after ([\d.]+) s, what is popular after ([\d.]+) s more")


@dataclass(frozen=True)
class Round:
    """One start, seconds: until the line, CPU of the server until then, and where the time went."""

    line_s: float
    cpu_s: float
    items_s: float
    popularity_s: float
    rest_s: float


class Result(TypedDict):
    """What is kept, ready for JSON. median: of each figure over the rounds, as `Round` has them."""

    model: str
    items: int
    users: int
    events_a_user: int
    seed: int
    median: dict[str, dict[str, float]]
    rounds: dict[str, list[dict[str, Any]]]


def run(quick: bool) -> Result:
    """Return the result. quick: fewer items, users and starts."""
    share = 20 if quick else 1
    item_count, user_count = ITEM_COUNT // share, USER_COUNT // share
    # One index, over all items, when they are all in.
    flags = ("--exact-search-max-items", str(item_count - 1))
    rounds: dict[str, list[Round]] = {"stopped": [], "killed": []}
    with TemporaryDirectory(prefix="recwire-restart-") as folder:
        data_dir, log = Path(folder) / "data", Path(folder) / "log"
        with served(data_dir, *flags) as server, Client(server.address, timeout_s=600) as client:
            model = _fill(client, item_count, user_count)
        for _ in range(2 if quick else ROUNDS):
            rounds["stopped"].append(_round(data_dir, flags, log, user_count, kill=True))
            rounds["killed"].append(_round(data_dir, flags, log, user_count, kill=False))
    return {
        "model": model,
        "items": item_count,
        "users": user_count,
        "events_a_user": EVENTS_A_USER,
        "seed": SEED,
        "median": {ending: _median(kept) for ending, kept in rounds.items()},
        "rounds": {ending: [asdict(one) for one in kept] for ending, kept in rounds.items()},
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    title = f"restart: {result['items']:,} items, {result['users']:,} users with {result['events_a_user']} events each"
    columns = (name.removesuffix("_s").replace("_", " ") + ", s" for name in Round.__dataclass_fields__)
    shown = Table("after a server was", *columns, title=title)
    for ending, median in result["median"].items():
        shown.add_row(ending, *(f"{figure:.2f}" for figure in median.values()))
    return shown


def _fill(client: Client, item_count: int, user_count: int) -> str:
    """Import items and events, and wait for the index; return the model's name."""
    info = client.get_server_info()
    for _ in client.import_items(_items(item_count, info.dimension)):
        pass
    for _ in client.update_user_stream(_updates(item_count, user_count)):
        pass
    settled(client)
    return info.model.name


def _items(count: int, dim: int) -> Iterator[Item]:
    chance = np.random.default_rng(SEED)
    centres, spread = chance.normal(size=(TOPICS, TOPIC_DIMS)), chance.normal(size=(TOPIC_DIMS, dim))
    for number in range(count):
        latent = centres[number % TOPICS] + 0.8 * chance.normal(size=TOPIC_DIMS)
        vector = latent @ spread + 0.3 * chance.normal(size=dim)
        yield Item(item_id=f"item-{number}", vector=to_bytes(vector / np.linalg.norm(vector)))


def _updates(item_count: int, user_count: int) -> Iterator[UserUpdate]:
    chance = random.Random(SEED)
    for user in range(user_count):
        items = (chance.randrange(item_count) for _ in range(EVENTS_A_USER))
        yield UserUpdate(f"user-{user}", [Event(item_id=f"item-{number}") for number in items])


def _round(data_dir: Path, flags: tuple[str, ...], log: Path, user_count: int, *, kill: bool) -> Round:
    """Return what a start took. kill: end the server by kill -9 after updates, not by a stop."""
    begin_s = time.perf_counter()
    with served(data_dir, *flags, log=log) as server:
        line_s, cpu_s = time.perf_counter() - begin_s, server.cpu_s()
        if kill:
            with Client(server.address) as client:
                for number in range(UPDATES_BEFORE_KILL):
                    client.update_user(f"user-{number % user_count}", [Event(item_id="item-0")])
            server.process.kill()
    found = SPLIT.search(log.read_text())
    assert found is not None, "the server's log tells it"
    items_s, popularity_s = map(float, found.groups())
    return Round(round(line_s, 3), round(cpu_s, 3), items_s, popularity_s, round(line_s - items_s - popularity_s, 3))


def _median(rounds: list[Round]) -> dict[str, float]:
    return {
        name: round(float(np.median([getattr(one, name) for one in rounds])), 3) for name in Round.__dataclass_fields__
    }
