"""recwire-server explain: why an item has its score for a user, and what it would have without some events."""

import sys
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recwire import Client, Item, NotFoundError, SeenPolicy, Strategy
from recwire.v1.event_pb2 import EventType
from recwire.v1.recommendation_pb2 import Recommendation
from recwire.v1.user_service_pb2 import StoredEvent
from recwire_server.cli.access import Access, with_access
from recwire_server.cli.leave import leave

MAX_RANK = 1_000  # the contract's greatest limit
DID = {
    EventType.EVENT_TYPE_UNSPECIFIED: "event on",
    EventType.EVENT_TYPE_VIEW: "viewed",
    EventType.EVENT_TYPE_CLICK: "clicked",
    EventType.EVENT_TYPE_SEARCH: "searched for",
    EventType.EVENT_TYPE_ADD_TO_CART: "put into the cart",
    EventType.EVENT_TYPE_PURCHASE: "bought",
    EventType.EVENT_TYPE_LIKE: "liked",
    EventType.EVENT_TYPE_DISLIKE: "disliked",
    EventType.EVENT_TYPE_SHARE: "shared",
    EventType.EVENT_TYPE_COMMENT: "commented on",
    EventType.EVENT_TYPE_PLAY: "played",
    EventType.EVENT_TYPE_SKIP: "skipped",
    EventType.EVENT_TYPE_RATE: "rated",
}
PARTS = {
    "history": "older events, together: too old to count one by one",
    "prior": "popularity: the item's share of what the most popular one has, as it counts here",
    "recency": "how new the item is",
    "boost": "a business rule",
    "query": "what was asked for",
}
STRATEGIES = {
    Strategy.STRATEGY_PERSONALIZED: "personalized: near what the user did",
    Strategy.STRATEGY_POPULAR: "popular: what most users do, for want of anything about this one",
    Strategy.STRATEGY_RECENT: "recent: newest first, after the popular items; the score is 0",
}


@with_access
def explain(
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)],
    item_id: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.", show_default=False)],
    access: Access,
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="The server.")] = "127.0.0.1:50051",
    ignored: Annotated[
        list[str],
        typer.Option(
            "--ignore",
            metavar="EVENT_ID",
            help="Show beside it what would be without this event; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 (typer makes a new list)
    row_count: Annotated[
        int, typer.Option("--rows", min=0, metavar="COUNT", help="The largest shares, one a row; 0: all.")
    ] = 30,
) -> None:
    """Show what an item's score for a user is the sum of.

    One row a share of the score, the largest first: what the user did, when,
    with which weight, and what it adds; negative shares push the item away.
    Asking changes nothing, and does not count as served.

    Exit status: 0 explained, 1 the item cannot be recommended, an --ignore is
    no event of the user, or the server went away, 2 usage.
    """
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    with access.client(to) as client:
        item = _item(client, item_id)
        now = _ask(client, user_id, item, ())
        events = _events(client, user_id, {*ignored, *(share.event_id for share in now.shares)} - {""})
        if unknown := [event_id for event_id in ignored if event_id not in events]:
            leave(f"user {user_id!r} has no event {unknown[0]!r}")
        without = _ask(client, user_id, item, ignored) if ignored else None
        titles = _titles(client, {item_id: item.title}, events.values())
        for line in _head(client, user_id, item, now, without):
            console.print(Text(line))
        console.print(_table(now, without, events, titles, row_count))


@dataclass(frozen=True)
class _Share:
    """A row: key is the same with and without events. part: see Contribution.part."""

    event_id: str
    part: str
    value: float

    @property
    def key(self) -> tuple[str, str]:
        return self.event_id, self.part


@dataclass(frozen=True)
class _Answer:
    """What an item is for a user. rank: from 1; None: past MAX_RANK. is_seen: in the history, and ranked in spite."""

    score: float
    strategy: Strategy
    shares: Sequence[_Share]
    rank: int | None
    is_seen: bool


def _ask(client: Client, user_id: str, item: Item, ignored: Collection[str]) -> _Answer:
    # An answer that ignores events is a question: the server does not remember it as served.
    ignore = [*ignored, uuid.uuid4().hex]
    answer = client.recommend(
        user_id,
        item_ids=[item.item_id],
        seen=SeenPolicy.SEEN_POLICY_INCLUDE,
        explain=True,
        limit=1,
        ignore_event_ids=ignore,
    )
    if not answer.recommendations:
        leave(_why_not(item))
    one = answer.recommendations[0]
    shown = [SeenPolicy.SEEN_POLICY_EXCLUDE, SeenPolicy.SEEN_POLICY_INCLUDE]
    is_seen = not client.recommend(user_id, item_ids=[item.item_id], limit=1, ignore_event_ids=ignore).recommendations
    ranked = client.recommend(user_id, seen=shown[is_seen], limit=MAX_RANK, exact=True, ignore_event_ids=ignore)
    ids = [recommendation.item_id for recommendation in ranked.recommendations]
    rank = ids.index(item.item_id) + 1 if item.item_id in ids else None
    return _Answer(one.score, one.strategy, _shares(one), rank, is_seen)


def _shares(one: Recommendation) -> list[_Share]:
    shares = [_Share(share.event_id, share.part, share.value) for share in one.contributions]
    return sorted(shares, key=lambda share: -abs(share.value))


def _item(client: Client, item_id: str) -> Item:
    try:
        return client.get_item(item_id)
    except NotFoundError:
        leave(f"item {item_id!r} is not in the catalogue")


def _why_not(item: Item) -> str:
    """Return why an item of the catalogue is not recommended to anybody."""
    now = datetime.now(UTC)
    expire_time, publish_time = item.expire_time.ToDatetime(UTC), item.publish_time.ToDatetime(UTC)
    if item.HasField("expire_time") and expire_time <= now:
        return f"item {item.item_id!r} is not recommended: it expired on {expire_time:%Y-%m-%d at %H:%M} UTC"
    if item.HasField("publish_time") and publish_time > now:
        return f"item {item.item_id!r} is not recommended yet: it is published on {publish_time:%Y-%m-%d at %H:%M} UTC"
    return f"item {item.item_id!r} is not recommended: it was deleted, or has changed, in this moment; ask again"


def _events(client: Client, user_id: str, event_ids: Collection[str]) -> dict[str, StoredEvent]:
    """Return those of the events that the user has, by id."""
    found: dict[str, StoredEvent] = {}
    if event_ids:
        try:
            for stored in client.list_events(user_id):
                if stored.event.event_id in event_ids:
                    found[stored.event.event_id] = stored
                if len(found) == len(event_ids):
                    break
        except NotFoundError:
            pass
    return found


def _titles(client: Client, known: dict[str, str], events: Collection[StoredEvent]) -> dict[str, str]:
    titles = dict(known)
    for item_id in {stored.event.item_id for stored in events} - titles.keys() - {""}:
        try:
            titles[item_id] = client.get_item(item_id).title
        except NotFoundError:
            titles[item_id] = f"{item_id} (deleted)"
    return {item_id: title or item_id for item_id, title in titles.items()}


def _head(client: Client, user_id: str, item: Item, now: _Answer, without: _Answer | None) -> Iterator[str]:
    yield f"{item.title or 'without a title'}: item {item.item_id}, for user {user_id}"
    yield f"{_standing(now)}; {STRATEGIES[now.strategy]}"
    if without:
        yield f"without what is ignored: {_standing(without)}; {STRATEGIES[without.strategy]}"
    if now.is_seen:
        yield "the item is in the user's history: answers leave it out unless `seen` includes it"
    if now.strategy != Strategy.STRATEGY_PERSONALIZED:
        try:
            count = client.get_user(user_id).event_count
            yield f"the user's {count:,} events move nothing: of unknown items, of weight 0, or cancelling out"
        except NotFoundError:
            yield "the user has no events: the answer is what is popular, then what is new"


def _standing(answer: _Answer) -> str:
    among = "all items" if answer.is_seen else "the items not in the history"
    rank = f"rank {answer.rank:,} among" if answer.rank else f"beyond the first {MAX_RANK:,} of"
    return f"score {answer.score:.4f}, {rank} {among}"


def _table(
    now: _Answer,
    without: _Answer | None,
    events: dict[str, StoredEvent],
    titles: dict[str, str],
    row_count: int,
) -> Table:
    table = Table(show_footer=True)
    table.add_column("what", footer="the score", ratio=1)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("weight", justify="right")
    table.add_column("adds", justify="right", footer=f"{now.score:+.4f}")
    if without:
        table.add_column("without", justify="right", footer=f"{without.score:+.4f}")
    table.add_column("event id", overflow="fold", max_width=32)
    others = {share.key: share.value for share in without.shares} if without else {}
    shares = [*now.shares]
    shares += [_Share(*key, 0.0) for key in others if key not in {share.key for share in shares}]
    shown = shares[: row_count or None]
    for share in shown:
        values = [f"{share.value:+.4f}"]
        if without:
            values.append(f"{others[share.key]:+.4f}" if share.key in others else "-")
        table.add_row(*_words(share, events.get(share.event_id), titles), *values, Text(share.event_id))
    if rest := shares[len(shown) :]:
        values = [f"{sum(share.value for share in rest):+.4f}"]
        if without:
            values.append(f"{sum(others.get(share.key, 0.0) for share in rest):+.4f}")
        table.add_row(f"{len(rest):,} smaller shares, together (--rows 0 shows them)", "", "", *values, "")
    return table


def _words(share: _Share, stored: StoredEvent | None, titles: dict[str, str]) -> tuple[Text, str, str]:
    """Return what, when and the weight."""
    if not share.event_id:
        return Text(PARTS.get(share.part, share.part)), "", ""
    if stored is None:
        return Text("an event that is gone meanwhile"), "", ""
    event = stored.event
    match event.WhichOneof("subject"):
        case "item_id":
            subject = titles[event.item_id]
        case "text":
            subject = f'"{event.text}"'
        case _:
            subject = "a vector of the caller's"
    when = event.event_time.ToDatetime(UTC)
    return Text(f"{DID[event.type]} {subject}"), f"{when:%Y-%m-%d %H:%M}", f"{stored.effective_weight:+g}"
