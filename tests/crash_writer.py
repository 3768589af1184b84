"""Who writes to a server that will be killed, and keeps account of what it acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from crash_model import Erase, Forget, Remove, State, Update, Upsert, Write, call
from google.protobuf.timestamp_pb2 import Timestamp
from scenario import DIM, WORDS

from recwire import AsyncClient, Event, Item, RecwireError, UserUpdate, to_bytes

WRITER_COUNT = 4
USERS, ITEMS, EVENTS = 3, 50, 30  # of a writer, and of a user: few, so that they come again
NEVER_ITEMS = 5  # ids that stay unknown
LONG_AGO_S = 1_700_000_000


@dataclass
class Revisions:
    """The newest revisions that any writer was told: of events, and of the catalogue."""

    event: int = 0
    catalog: int = 0


@dataclass
class Killing:
    """What the writers tell, and are told by, the one who kills the server."""

    acknowledged: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    is_done: bool = False


class Writer:
    """Writes to its own users and items; its events are on everybody's items.

    state: what was acknowledged. pending: what was sent since, in order. revisions: by user, as acknowledged.
    """

    def __init__(self, number: int, newest: Revisions) -> None:
        self.name = f"w{number}"
        self.state = State(self.name)
        self.pending: list[Write] = []
        self.revisions: dict[str, int] = {}
        self._newest = newest

    @property
    def user_ids(self) -> list[str]:
        return [f"{self.name}-u{n}" for n in range(USERS)]

    async def run(self, client: AsyncClient, random: Random, killing: Killing) -> None:
        """Write until the server is killed; an error before that is one."""
        try:
            while True:
                if random.random() < 0.25:
                    await self._stream(client, random, killing)
                else:
                    await self._write(client, self._drawn(random), killing)
        except RecwireError:
            if not killing.is_done:
                raise

    async def _write(self, client: AsyncClient, write: Write, killing: Killing) -> None:
        self.pending.append(write)
        newest = Revisions(self._newest.event, self._newest.catalog)
        self._acknowledge(write, await call(client, write), newest)
        killing.acknowledged.release()

    async def _stream(self, client: AsyncClient, random: Random, killing: Killing) -> None:
        async def updates() -> AsyncIterator[UserUpdate]:
            for _ in range(random.randint(2, 12)):
                write = self._drawn_update(random)
                self.pending.append(write)
                yield UserUpdate(write.user_id, write.events)

        newest = Revisions(self._newest.event, self._newest.catalog)
        async with aclosing(client.update_user_stream(updates())) as outcomes:
            async for outcome in outcomes:
                assert outcome.error is None
                self._acknowledge(self.pending[0], outcome.response, newest)
                killing.acknowledged.release()

    def _acknowledge(self, write: Write, answer: Any, newest: Revisions) -> None:
        """Take note of an acknowledged write. newest: of before it was sent."""
        before, after = self.state, self.state.after([write])
        match write:
            case Update(user_id, events):
                old = before.users.get(user_id, {})
                count = len(after.users[user_id]) - len(old)
                assert answer.applied_count == count
                assert len(answer.duplicate_event_ids) == len(events) - count
                self._advance(user_id, answer.revision, count, newest)
            case Forget(user_id, _):
                count = len(before.users[user_id]) - len(after.users.get(user_id, {}))
                assert answer.forgotten_count == count
                self._advance(user_id, answer.revision, count, newest)
            case Erase(user_id):
                assert answer.deleted_event_count == len(before.users[user_id])
            case Upsert(items):
                assert answer.upserted_count == len(items)
            case Remove():
                assert answer.deleted_count == len(before.items) - len(after.items)
        if isinstance(write, Upsert | Remove):
            assert answer.catalog_revision > newest.catalog
            self._newest.catalog = max(self._newest.catalog, answer.catalog_revision)
        self.state = after
        for user_id in self.revisions.keys() - after.users.keys():
            del self.revisions[user_id]
        self.pending.remove(write)

    def _advance(self, user_id: str, revision: int, changed_count: int, newest: Revisions) -> None:
        if changed_count:
            assert revision > newest.event
            assert revision > self.revisions.get(user_id, 0)
        else:
            assert revision == self.revisions[user_id]
        self.revisions[user_id] = revision
        self._newest.event = max(self._newest.event, revision)

    def _drawn(self, random: Random) -> Write:
        kind, users = random.random(), sorted(self.state.users)
        if kind < 0.45 or not users:
            return self._drawn_update(random)
        if kind < 0.55:
            user_id = random.choice(users)
            return Forget(user_id, tuple(f"e{n}" for n in random.sample(range(EVENTS), random.randint(1, 6))))
        if kind < 0.6:
            return Erase(random.choice(users))
        numbers = random.sample(range(ITEMS), random.randint(1, 10))
        if kind < 0.88:
            return Upsert(tuple(drawn_item(f"{self.name}-i{n}", random) for n in numbers))
        return Remove(tuple(f"{self.name}-i{n}" for n in numbers[:4]))

    def _drawn_update(self, random: Random) -> Update:
        numbers = random.sample(range(EVENTS), random.randint(1, 4))
        return Update(random.choice(self.user_ids), tuple(drawn_event(f"e{n}", random) for n in numbers))


def drawn_event(event_id: str, random: Random) -> Event:
    item_id = f"w{random.randrange(WRITER_COUNT)}-i{random.randrange(ITEMS + NEVER_ITEMS)}"
    subjects = [{"item_id": item_id}] * 3 + [{"text": drawn_text(random)}, {"vector": drawn_vector(random)}]
    event = Event(event_id=event_id, type=random.randrange(13), **random.choice(subjects))
    if random.random() < 0.3:
        event.event_time.CopyFrom(Timestamp(seconds=LONG_AGO_S + random.randrange(100)))
    return event


def drawn_item(item_id: str, random: Random) -> Item:
    """An item; its publish time says how new it is, so that the oracle need not know when it was written."""
    content = {"vector": drawn_vector(random)} if random.random() < 0.5 else {"texts": [drawn_text(random)]}
    published = Timestamp(seconds=LONG_AGO_S + random.randrange(1_000))
    return Item(item_id=item_id, title=drawn_text(random), publish_time=published, **content)


def drawn_text(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(1, 4)))


def drawn_vector(random: Random) -> bytes:
    return to_bytes(np.random.default_rng(random.randrange(1_000)).normal(size=DIM))


async def write_until(
    address: str, writers: Sequence[Writer], random: Random, count: int, kill: Callable[[], object]
) -> None:
    """Let all write at once, each on a connection of its own; kill the server once so many calls are acknowledged, at
    a random moment of the next ones."""
    killing = Killing()
    clients = [AsyncClient(address) for _ in writers]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(writer.run(client, Random(random.random()), killing))
                for writer, client in zip(writers, clients, strict=True)
            ]
            for _ in range(count):
                await killing.acknowledged.acquire()
            await asyncio.sleep(random.uniform(0, 0.005))  # a call takes about a millisecond or two
            killing.is_done = True
            kill()
            for task in tasks:
                task.cancel()
    finally:
        for client in clients:
            await client.close()
