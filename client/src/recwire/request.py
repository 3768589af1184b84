"""Requests, made from what a caller passes.

The server checks them; only what it could not notice is checked here.
"""

import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypedDict, Unpack

from recwire.channel import MAX_REQUEST_BYTES
from recwire.update import UserUpdate
from recwire.v1.catalog_service_pb2 import DeleteItemsRequest, ImportItemsRequest
from recwire.v1.event_pb2 import Event
from recwire.v1.filter_pb2 import Boost, Filter
from recwire.v1.item_pb2 import Item
from recwire.v1.recommendation_pb2 import RecommendOptions, SeenPolicy
from recwire.v1.recommender_service_pb2 import (
    EmbedPurpose,
    EmbedRequest,
    EmbedStreamRequest,
    LongText,
    RecommendRequest,
    Session,
    UpdateUserRequest,
    UpdateUserStreamRequest,
)
from recwire.v1.user_service_pb2 import ForgetEventsRequest
from recwire.vector import to_bytes

if TYPE_CHECKING:
    from recwire.vector import VectorLike

MAX_STREAM_TEXTS = 64  # of a request of EmbedStream: a tenth of a second of work, some 100 KB of answer
TEXTS_AHEAD = 4  # requests of EmbedStream without an answer yet: what the server has in work
UPDATES_AHEAD = 64  # the same of UpdateUserStream: these share commits
MAX_ITEMS = 256  # in one request, by the contract
FRAME_BYTES = 6  # at most this much frames an item in a request: a tag, and a length below 2**35


class Options(TypedDict, total=False):
    """How to answer: the fields of RecommendOptions, which documents them. Left out: its default."""

    limit: int
    filter: Filter
    exclude_item_ids: Iterable[str]
    seen: SeenPolicy
    explain: bool
    diversity: float
    ignore_event_ids: Iterable[str]
    exact: bool
    include_items: bool
    rotation: timedelta
    boosts: Iterable[Boost]
    min_score: float
    item_ids: Iterable[str]


def embed(texts: Iterable[str], purpose: EmbedPurpose, long_text: LongText) -> EmbedRequest:
    """Return the request for Embed. Raises ValueError for a text that is not Unicode, which the wire cannot carry."""
    given = list(_several(texts, "texts"))
    try:
        return EmbedRequest(texts=given, purpose=purpose, long_text=long_text)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts[{given.index(error.object)}] has a lone surrogate at character {error.start}"
        ) from error


def embed_stream(texts: Iterable[str], purpose: EmbedPurpose, long_text: LongText) -> Iterator[EmbedStreamRequest]:
    """Yield the requests for EmbedStream."""
    source = iter(_several(texts, "texts"))
    while batch := list(islice(source, MAX_STREAM_TEXTS)):
        yield embed_stream_message(batch, purpose, long_text)


def embed_stream_message(texts: Iterable[str], purpose: EmbedPurpose, long_text: LongText) -> EmbedStreamRequest:
    """Return one request for EmbedStream; see `embed`."""
    return EmbedStreamRequest(request=embed(texts, purpose, long_text))


def update_user(user_id: str, events: Iterable[Event], recommend: RecommendOptions | None) -> UpdateUserRequest:
    """Return the request for UpdateUser, in which every event has an id: a retry then counts none twice."""
    request = UpdateUserRequest(user_id=user_id, events=events, recommend=recommend)
    for event in request.events:  # copies: the caller's own stay as they are
        if not event.event_id:
            event.event_id = uuid.uuid4().hex
    return request


def update_user_stream(update: UserUpdate) -> UpdateUserStreamRequest:
    """Return one request for UpdateUserStream; see `update_user`."""
    return UpdateUserStreamRequest(request=update_user(update.user_id, update.events, update.recommend))


def forget_events(user_id: str, event_ids: Iterable[str]) -> ForgetEventsRequest:
    """Return the request for ForgetEvents."""
    return ForgetEventsRequest(user_id=user_id, event_ids=_several(event_ids, "event_ids"))


def recommend(
    *,
    user_id: str | None,
    session: Iterable[Event] | None,
    item_id: str | None,
    text: str | None,
    vector: "VectorLike | None",
    min_revision: int,
    **options: Unpack[Options],
) -> RecommendRequest:
    """Return the request for Recommend. Raises TypeError unless exactly one target is given."""
    targets = {"user_id": user_id, "session": session, "item_id": item_id, "text": text, "vector": vector}
    given = [name for name, target in targets.items() if target is not None]
    if len(given) != 1:  # on the wire the last would win, in silence
        raise TypeError(f"recommend takes exactly one of {', '.join(targets)}; got {' and '.join(given) or 'none'}")
    return RecommendRequest(
        user_id=user_id,
        session=None if session is None else Session(events=session),
        item_id=item_id,
        text=text,
        vector=None if vector is None else to_bytes(vector),
        options=RecommendOptions(**options),
        min_revision=min_revision,
    )


def delete_items(item_ids: Iterable[str]) -> DeleteItemsRequest:
    """Return the request for DeleteItems."""
    return DeleteItemsRequest(item_ids=_several(item_ids, "item_ids"))


def import_items(items: Iterable[Item]) -> Iterator[ImportItemsRequest]:
    """Yield the requests for ImportItems."""
    batch = ImportBatch()
    for item in items:
        yield from batch.add(item)
    yield from batch.rest()


class ImportBatch:
    """Cuts a stream of items into requests that are as large as they may be."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._size_bytes = 0

    def add(self, item: Item) -> Iterator[ImportItemsRequest]:
        """Take an item; yield the request of those before it, if it no longer fits in with them."""
        size_bytes = item.ByteSize() + FRAME_BYTES
        if len(self._items) == MAX_ITEMS or self._size_bytes + size_bytes > MAX_REQUEST_BYTES:
            yield from self.rest()
        self._items.append(item)
        self._size_bytes += size_bytes

    def rest(self) -> Iterator[ImportItemsRequest]:
        """Yield the request of the items that are left, if there are any."""
        if self._items:
            yield ImportItemsRequest(items=self._items)
        self._items, self._size_bytes = [], 0


def _several(texts: Iterable[str], name: str) -> Iterable[str]:
    """Refuse a lone text, which would pass as its letters."""
    if isinstance(texts, str):
        raise TypeError(f"{name} takes a list of texts, not one text")
    return texts
