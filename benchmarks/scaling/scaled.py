"""Servers with catalogues of a size, and users whose events are on items of a few topics."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.served import PATIENT, Served, served, settled
from recwire import Client, Event, Item, SeenPolicy, to_bytes
from recwire.v1.admin_service_pb2 import GetServerInfoResponse
from recwire_server.vector import Vectors

SEED = 7
USERS, TOPICS, EVENTS_A_TOPIC = 100, 3, 7
TOPIC_ITEMS = 50  # the nearest to one
TOPIC_SAMPLE = 20_000  # items, of which topics are
DEFAULT_EXACT_ITEMS = 2_000
K = 10
BUILD_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Scaled:
    """A server with so many items, and USERS users."""

    item_count: int
    server: Served
    client: Client
    info: GetServerInfoResponse

    def recall(self) -> float:
        """Return the share of the ten nearest items that Recommend finds for the users, seen items let in."""
        return float(np.mean([self._recall(user_name(user)) for user in range(USERS)]))

    def _recall(self, user_id: str) -> float:
        include = SeenPolicy.SEEN_POLICY_INCLUDE
        found, true = (self.client.recommend(user_id, limit=K, seen=include, exact=exact) for exact in (False, True))
        least = true.recommendations[-1].score - 1e-6
        return sum(one.score >= least for one in found.recommendations) / len(true.recommendations)


@contextmanager
def scaled(data_dir: Path, vectors: Vectors) -> Iterator[Scaled]:
    """Run a server with an item for each vector for the length of the block, its index built."""
    flags = ["--log-level", "warning", "--index-thread-count", str(len(os.sched_getaffinity(0)))]
    if len(vectors) > DEFAULT_EXACT_ITEMS:
        # One index, over all items, when they are all in: those on the way would take as long together.
        flags += ["--exact-search-max-items", str(len(vectors) - 1)]
    with served(data_dir, *flags, *PATIENT) as server, Client(server.address, timeout_s=BUILD_TIMEOUT_S) as client:
        items = (Item(item_id=item_name(number), vector=to_bytes(one)) for number, one in enumerate(vectors))
        for _ in client.import_items(items):
            pass
        settled(client)
        for user, numbers in enumerate(_tastes(vectors)):
            client.update_user(user_name(user), [Event(item_id=item_name(number)) for number in numbers])
        yield Scaled(len(vectors), server, client, client.get_server_info())


def user_name(number: int) -> str:
    """Return a user's id."""
    return f"user-{number}"


def item_name(number: int) -> str:
    """Return an item's id."""
    return f"item-{number}"


def pin_process(pid: int, core: int) -> None:
    """Keep a process on one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _tastes(vectors: Vectors) -> Iterator[list[int]]:
    """Yield each user's items: some of each of a few topics, which are the items nearest to one."""
    chance = np.random.default_rng(SEED)
    sample = vectors[:TOPIC_SAMPLE]
    near = min(TOPIC_ITEMS, len(sample))
    for _ in range(USERS):
        topics = [np.argsort(sample @ sample[centre])[-near:] for centre in chance.integers(len(sample), size=TOPICS)]
        yield [int(number) for topic in topics for number in chance.choice(topic, EVENTS_A_TOPIC, replace=False)]
