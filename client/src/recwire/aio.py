"""The client for asyncio: `Client`, with `await`."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

import grpc
from google.protobuf.message import Message

from recwire import aio_request, aio_stream, channel, deadline, embedding, errors, request, update
from recwire.embedding import Embedding, Embeddings
from recwire.update import UpdateOutcome, UserUpdate
from recwire.v1.admin_service_pb2 import (
    CheckUsersRequest,
    CheckUsersResponse,
    GetServerInfoRequest,
    GetServerInfoResponse,
)
from recwire.v1.catalog_service_pb2 import (
    DeleteItemsResponse,
    GetItemRequest,
    GetItemResponse,
    ImportItemsRequest,
    ImportItemsResponse,
    ListItemsRequest,
    ListItemsResponse,
    UpsertItemsRequest,
    UpsertItemsResponse,
)
from recwire.v1.event_pb2 import Event
from recwire.v1.item_pb2 import Item
from recwire.v1.recommendation_pb2 import RecommendOptions, RecommendResponse
from recwire.v1.recommender_service_pb2 import (
    EmbedPurpose,
    EmbedResponse,
    LongText,
    UpdateUserResponse,
)
from recwire.v1.user_service_pb2 import (
    DeleteUserRequest,
    DeleteUserResponse,
    ExportUserRequest,
    ForgetEventsResponse,
    GetUserRequest,
    GetUserResponse,
    ListEventsRequest,
    ListEventsResponse,
    StoredEvent,
)

if TYPE_CHECKING:
    from recwire.vector import VectorLike


class AsyncClient:
    """Calls a recwire server; made once, used by all tasks of an event loop, closed at the end.

    `async with` closes it. The arguments, the methods and what they promise are those of `Client`.
    """

    def __init__(
        self,
        address: str = channel.DEFAULT_ADDRESS,
        *,
        timeout_s: float | None = None,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        allow_plaintext_api_key: bool = False,
    ) -> None:
        self._connection = channel.Connection(
            address, api_key=api_key, credentials=credentials, allow_plaintext_api_key=allow_plaintext_api_key
        )
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Close the connection; calls that still wait are cancelled."""
        await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def embed(
        self,
        texts: Iterable[str],
        *,
        purpose: EmbedPurpose = EmbedPurpose.EMBED_PURPOSE_QUERY,
        long_text: LongText = LongText.LONG_TEXT_MEAN_OF_CHUNKS,
        timeout_s: float | None = None,
    ) -> Embeddings:
        """Return the embeddings of 1-256 texts, in order."""
        message = request.embed(texts, purpose, long_text)
        response: EmbedResponse = await self._call(self._stubs.recommender.Embed, message, timeout_s)
        return embedding.from_response(response)

    async def embed_stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        purpose: EmbedPurpose = EmbedPurpose.EMBED_PURPOSE_QUERY,
        long_text: LongText = LongText.LONG_TEXT_MEAN_OF_CHUNKS,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Embedding]:
        """Yield the embeddings of any number of texts, in order; calls that somebody waits for go before them.

        texts is read, and sent, a few hundred texts ahead of what is yielded. timeout_s is for an answer, which is to
        64 texts. After an error, what was yielded counts: go on with the texts that come after.
        """
        messages = aio_request.embed_stream(texts, purpose, long_text)
        wait_s = self._wait_s(timeout_s)
        method = self._stubs.recommender.EmbedStream
        async with aclosing(aio_stream.exchanges(method, messages, request.TEXTS_AHEAD, wait_s)) as exchanges:
            async for exchange in exchanges:
                for one in embedding.each_of_stream(exchange.answer):
                    yield one

    async def update_user(
        self,
        user_id: str,
        events: Iterable[Event],
        *,
        recommend: RecommendOptions | None = None,
        timeout_s: float | None = None,
    ) -> UpdateUserResponse:
        """Record 1-256 events of a user, all or none; they are durable, and the next recommend() counts them.

        recommend: set it to get recommendations in the same answer. An event without event_id gets a fresh
        one (the caller's own object does not), so that the client's retries count nothing twice. Calling
        again after a failure does, unless the events bring ids of their own.
        """
        message = request.update_user(user_id, events, recommend)
        response: UpdateUserResponse = await self._call(self._stubs.recommender.UpdateUser, message, timeout_s)
        return response

    async def update_user_stream(
        self, updates: Iterable[UserUpdate] | AsyncIterable[UserUpdate], *, timeout_s: float | None = None
    ) -> AsyncIterator[UpdateOutcome]:
        """Record any number of updates as update_user() does; yield what became of each, in order, once it is durable.

        An update that fails does not end the stream: its outcome has the error. updates is read, and sent, up to 64
        updates ahead of what is yielded: these share the server's commits; those of one user take effect in order. An
        outcome that has come is yielded once the next update is read.

        timeout_s is for an outcome. An error that is raised is the stream's: what was yielded counts; what was read
        after it may, so that events need ids of their own for the caller to send them again.
        """
        messages = aio_request.update_user_stream(updates)
        wait_s = self._wait_s(timeout_s)
        method = self._stubs.recommender.UpdateUserStream
        async with aclosing(aio_stream.exchanges(method, messages, request.UPDATES_AHEAD, wait_s)) as exchanges:
            async for exchange in exchanges:
                yield update.outcome(exchange.request, exchange.answer)

    async def recommend(
        self,
        user_id: str | None = None,
        *,
        session: Iterable[Event] | None = None,
        item_id: str | None = None,
        text: str | None = None,
        vector: "VectorLike | None" = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
        **options: Unpack[request.Options],
    ) -> RecommendResponse:
        """Return what to show, best first.

        The target is exactly one of: a user (unknown is no error), the events of a visitor who is not
        stored, an item or a text or a vector to find similar items for. min_revision waits for a state of
        the user at least as new as the update_user() that returned it.

        options are the fields of RecommendOptions: limit, filter, exclude_item_ids, seen, explain, diversity,
        ignore_event_ids, exact, include_items, rotation, boosts, min_score, item_ids.
        """
        message = request.recommend(
            user_id=user_id,
            session=session,
            item_id=item_id,
            text=text,
            vector=vector,
            min_revision=min_revision,
            **options,
        )
        response: RecommendResponse = await self._call(self._stubs.recommender.Recommend, message, timeout_s)
        return response

    async def upsert_items(self, items: Iterable[Item], *, timeout_s: float | None = None) -> UpsertItemsResponse:
        """Add or replace 1-256 items, all or none; they are durable, and recommended at once."""
        message = UpsertItemsRequest(items=items)
        response: UpsertItemsResponse = await self._call(self._stubs.catalog.UpsertItems, message, timeout_s)
        return response

    async def import_items(
        self, items: Iterable[Item] | AsyncIterable[Item], *, timeout_s: float | None = None
    ) -> AsyncIterator[ImportItemsResponse]:
        """Add or replace any number of items; yield each batch's progress, with the items that were refused.

        Nothing is sent until the answers are read. timeout_s is for a batch, which is at most 256 items and
        4 MiB. After an error, call again with the same items: those that are in already cost little.
        """
        imported_count = 0
        async for message in aio_request.import_items(items):
            response = await self._import_batch(message, timeout_s)
            imported_count += response.imported_count
            response.imported_count = imported_count
            yield response

    async def delete_items(self, item_ids: Iterable[str], *, timeout_s: float | None = None) -> DeleteItemsResponse:
        """Delete 1-256 items; no answer that begins later has them. Unknown ids are no error."""
        message = request.delete_items(item_ids)
        response: DeleteItemsResponse = await self._call(self._stubs.catalog.DeleteItems, message, timeout_s)
        return response

    async def get_item(self, item_id: str, *, timeout_s: float | None = None) -> Item:
        """Return an item as it was sent. Raises NotFoundError."""
        message = GetItemRequest(item_id=item_id)
        response: GetItemResponse = await self._call(self._stubs.catalog.GetItem, message, timeout_s)
        return response.item

    async def list_items(self, *, timeout_s: float | None = None) -> AsyncIterator[Item]:
        """Yield every item, in the order of the ids. timeout_s is for a page."""
        message = ListItemsRequest()
        while True:
            page: ListItemsResponse = await self._call(self._stubs.catalog.ListItems, message, timeout_s)
            for item in page.items:
                yield item
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    async def get_user(self, user_id: str, *, timeout_s: float | None = None) -> GetUserResponse:
        """Return a summary of what is stored about a user. Raises NotFoundError."""
        message = GetUserRequest(user_id=user_id)
        response: GetUserResponse = await self._call(self._stubs.user.GetUser, message, timeout_s)
        return response

    async def forget_events(
        self, user_id: str, event_ids: Iterable[str], *, timeout_s: float | None = None
    ) -> ForgetEventsResponse:
        """Take 1-256 events back: all is as though they had not happened. Unknown ids are no error.

        Raises NotFoundError for a user without events; also when a retry finds that a lost first try had taken the
        last ones.
        """
        message = request.forget_events(user_id, event_ids)
        response: ForgetEventsResponse = await self._call(self._stubs.user.ForgetEvents, message, timeout_s)
        return response

    async def list_events(self, user_id: str, *, timeout_s: float | None = None) -> AsyncIterator[StoredEvent]:
        """Yield every event of a user, the last recorded first. timeout_s is for a page. Raises NotFoundError."""
        message = ListEventsRequest(user_id=user_id)
        while True:
            page: ListEventsResponse = await self._call(self._stubs.user.ListEvents, message, timeout_s)
            for event in page.events:
                yield event
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    async def export_user(self, user_id: str, *, timeout_s: float | None = None) -> AsyncIterator[StoredEvent]:
        """Yield all that is stored about a user: the events, as of now, in the order in which they happened.

        timeout_s is for a message, which is 64 events. Raises NotFoundError.
        """
        message = ExportUserRequest(user_id=user_id)
        wait_s = deadline.choose_s(message, timeout_s, self._timeout_s)
        async with aclosing(aio_stream.each(self._stubs.user.ExportUser(message), wait_s)) as parts:
            async for part in parts:
                for event in part.events:
                    yield event

    async def delete_user(self, user_id: str, *, timeout_s: float | None = None) -> DeleteUserResponse:
        """Erase a user.

        Raises NotFoundError for an unknown user; also when a retry finds that a lost first try had erased
        the user.
        """
        message = DeleteUserRequest(user_id=user_id)
        response: DeleteUserResponse = await self._call(self._stubs.user.DeleteUser, message, timeout_s)
        return response

    async def get_server_info(self, *, timeout_s: float | None = None) -> GetServerInfoResponse:
        """Return the server's version, model, counts and index."""
        message = GetServerInfoRequest()
        response: GetServerInfoResponse = await self._call(self._stubs.admin.GetServerInfo, message, timeout_s)
        return response

    async def check_users(self, *, timeout_s: float | None = None) -> AsyncIterator[CheckUsersResponse]:
        """Compare the state of every user with a replay of the stored events; yield progress, and who differs.

        timeout_s is for a message, which is 100 users.
        """
        message = CheckUsersRequest()
        wait_s = deadline.choose_s(message, timeout_s, self._timeout_s)
        async with aclosing(aio_stream.each(self._stubs.admin.CheckUsers(message), wait_s)) as answers:
            async for progress in answers:
                yield progress

    def _wait_s(self, timeout_s: float | None) -> Callable[[Message], float]:
        """Return how long to wait for the answer to a message of a stream."""
        return lambda message: deadline.choose_s(message, timeout_s, self._timeout_s)

    async def _call(self, method: Any, message: Message, timeout_s: float | None) -> Any:
        try:
            return await method(message, timeout=deadline.choose_s(message, timeout_s, self._timeout_s))
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error

    async def _import_batch(self, message: ImportItemsRequest, timeout_s: float | None) -> ImportItemsResponse:
        # A stream a batch: each has a deadline of its own, and a server that drains ends none half-way.
        wait_s = deadline.choose_s(message, timeout_s, self._timeout_s)
        try:
            answers: list[ImportItemsResponse] = [
                answer async for answer in self._stubs.catalog.ImportItems((message,), timeout=wait_s)
            ]
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error
        return answers[0]

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # Made by the first call: a channel belongs to the event loop that runs when it is made.
        return self._connection.open_aio()

    @cached_property
    def _stubs(self) -> channel.Stubs:
        return self._connection.stubs(self._channel)
