"""What a server must have after a crash: all that it acknowledged, and what was under way as a whole or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from contract_words import Recorded, Rules, nanoseconds
from oracle import Oracle

from recwire import Client, Event, Item, NotFoundError
from recwire.v1.user_service_pb2 import StoredEvent

CATALOGUE = "the catalogue"


@dataclass(frozen=True)
class Update:
    """UpdateUser, alone or in a stream."""

    user_id: str
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Forget:
    """ForgetEvents."""

    user_id: str
    event_ids: tuple[str, ...]


@dataclass(frozen=True)
class Erase:
    """DeleteUser."""

    user_id: str


@dataclass(frozen=True)
class Upsert:
    """UpsertItems."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Remove:
    """DeleteItems."""

    item_ids: tuple[str, ...]


Write = Update | Forget | Erase | Upsert | Remove


def call(client: Any, write: Write) -> Any:
    """Do the write: return the answer of a `Client`, what is to be awaited of an `AsyncClient`."""
    match write:
        case Update(user_id, events):
            return client.update_user(user_id, events)
        case Forget(user_id, event_ids):
            return client.forget_events(user_id, event_ids)
        case Erase(user_id):
            return client.delete_user(user_id)
        case Upsert(items):
            return client.upsert_items(items)
        case Remove(item_ids):
            return client.delete_items(item_ids)


def subject(write: Write) -> str:
    """What it writes to: a user's id, or the catalogue. Writes to one subject happen in the order of the calls."""
    return CATALOGUE if isinstance(write, Upsert | Remove) else write.user_id


@dataclass
class Found:
    """What a server has. revisions: of the users."""

    users: Mapping[str, Sequence[StoredEvent]]
    revisions: Mapping[str, int]
    items: Mapping[str, Item]

    @classmethod
    def read(cls, client: Client, user_ids: Iterable[str]) -> "Found":
        users, revisions = {}, {}
        for user_id in user_ids:
            try:
                users[user_id] = list(client.export_user(user_id))
            except NotFoundError:
                continue
            summary = client.get_user(user_id)
            assert summary.event_count == len(users[user_id])
            revisions[user_id] = summary.revision
        return cls(users, revisions, {item.item_id: item for item in client.list_items()})


@dataclass
class State:
    """What is in the users and items of one writer. A user's events: by id, in the order in which they were recorded.

    name: begins the ids of its items. last_items: the last version of every item that ever was.
    """

    name: str
    users: dict[str, dict[str, Event]] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    last_items: dict[str, Item] = field(default_factory=dict)

    def after(self, writes: Iterable[Write]) -> "State":
        """What it is after these writes."""
        users = {user_id: copy(log) for user_id, log in self.users.items()}
        state = State(self.name, users, copy(self.items), copy(self.last_items))
        for write in writes:
            state._apply(write)
        return state

    def _apply(self, write: Write) -> None:
        match write:
            case Update(user_id, events):
                for event in events:
                    self.users.setdefault(user_id, {}).setdefault(event.event_id, event)
            case Forget(user_id, event_ids):
                log = self.users.get(user_id, {})
                for event_id in event_ids:
                    log.pop(event_id, None)
                if not log:
                    self.users.pop(user_id, None)
            case Erase(user_id):
                self.users.pop(user_id, None)
            case Upsert(items):
                new = {item.item_id: item for item in items}
                self.items |= new
                self.last_items |= new
            case Remove(item_ids):
                for item_id in item_ids:
                    self.items.pop(item_id, None)

    def differs(self, about: str, found: Found) -> str:
        """Say how a user, or the writer's part of the catalogue, differs from what a server has; empty: not at all."""
        if about == CATALOGUE:
            there = {item_id: item for item_id, item in found.items.items() if item_id.startswith(f"{self.name}-")}
            wrong = [item_id for item_id in there | self.items if there.get(item_id) != self.items.get(item_id)]
            return f"items {wrong}" if wrong else ""
        expected, stored = self.users.get(about, {}), found.users.get(about, [])
        times = {one.event.event_id: nanoseconds(one.event.event_time) for one in stored}
        if len(times) != len(stored) or times.keys() != expected.keys():
            return f"user {about} has the events {[*times]}, not {[*expected]}"
        in_order = sorted(expected.values(), key=lambda event: times[event.event_id])  # of one time: as recorded
        wrong = [
            event.event_id
            for event, one in zip(in_order, stored, strict=True)
            if event != as_sent(one.event, like=event)
        ]
        return f"events {wrong} of user {about}" if wrong else ""

    def resolved(self, pending: Sequence[Write], found: Found) -> "State":
        """What it is, now that what of the pending writes happened can be seen: of each subject's none, some of the
        first, or all; each as a whole. The rest must be as acknowledged."""
        state = self
        for about in [*self.users.keys() | {subject(write) for write in pending}, CATALOGUE]:
            mine = [write for write in pending if subject(write) == about]
            outcomes = [state.after(mine[:count]) for count in range(len(mine) + 1)]
            faults = [outcome.differs(about, found) for outcome in outcomes]
            assert "" in faults, faults
            state = outcomes[faults.index("")]
        return state


def as_sent(stored: Event, like: Event) -> Event:
    """A stored event without the time that the server gave it, where none was sent."""
    event = Event()
    event.CopyFrom(stored)
    if not like.HasField("event_time"):
        event.ClearField("event_time")
    return event


def oracle_of(states: Iterable[State], found: Found, rules: Rules) -> Oracle:
    """An oracle that knows what the writers wrote. found: has the same, and when the server took the events."""
    oracle = Oracle(rules)
    for state in states:
        oracle.upsert(state.last_items.values())
        oracle.delete(state.last_items.keys() - state.items.keys())
        for user_id, log in state.users.items():
            stored = {one.event.event_id: one for one in found.users[user_id]}
            oracle.logs[user_id] = [
                Recorded(event, nanoseconds(one.event.event_time), nanoseconds(one.record_time), number)
                for number, event in enumerate(log.values())
                for one in [stored[event.event_id]]
            ]
    return oracle
