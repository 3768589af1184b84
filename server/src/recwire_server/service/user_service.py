"""The rpcs of UserService."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from recwire.v1 import user_service_pb2 as pb
from recwire.v1.user_service_pb2_grpc import UserServiceServicer
from recwire_server.encoder import Encoder
from recwire_server.errors import NotFoundError, UnknownUserError
from recwire_server.service.event_message import stored_event_message
from recwire_server.service.field import FieldCheck
from recwire_server.service.page import page_size_from, page_token_from, page_token_message, that_fit
from recwire_server.user_id import UserIds
from recwire_server.user_record import UserRecords

NEWEST_EVENT_COUNT = 10
MAX_FORGET_IDS = 256
EXPORT_EVENT_COUNT = 64  # a message; an event is at most 32 KiB of text, and a client takes 4 MiB
NO_REVISION_YET = 2**63 - 1
MAX_TOKEN_DIGITS = 18  # of a revision in a page token: what the store compares with, a signed 64-bit number

Context = grpc.aio.ServicerContext[Any, Any]


class UserService(UserServiceServicer):
    """GetUser, ListEvents, ForgetEvents, DeleteUser, ExportUser."""

    def __init__(self, records: UserRecords, encoder: Encoder, user_ids: UserIds) -> None:
        self._records = records
        self._encoder = encoder
        self._user_ids = user_ids

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        with self._stored(self._user_id(request.user_id)) as stored_id:
            newest = await self._records.newest_events(stored_id, NO_REVISION_YET, NEWEST_EVENT_COUNT)
            user = await self._records.summary(stored_id)
        return pb.GetUserResponse(
            user_id=request.user_id,
            revision=user.revision,
            event_count=user.event_count,
            seen_count=user.seen_count,
            newest_events=[stored_event_message(event) for event in newest],
            vector=user.vector.astype("<f4").tobytes(),
        )

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        check = FieldCheck(self._encoder.dim)
        user_id = check.id("user_id", request.user_id)
        page_size = page_size_from(request.page_size, check)
        before = page_token_from(request.page_token, check)
        if before and not (before.isdecimal() and len(before) <= MAX_TOKEN_DIGITS):
            check.add("page_token", "is none of this rpc's; give ListEventsResponse.next_page_token as it was")
        check.finish()
        with self._stored(user_id) as stored_id:
            events = await self._records.newest_events(stored_id, int(before or NO_REVISION_YET), page_size + 1)
        page = that_fit([stored_event_message(event) for event in events[:page_size]])
        last = events[len(page) - 1].event if len(page) < len(events) else None
        token = "" if last is None else page_token_message(str(last.revision))
        return pb.ListEventsResponse(events=page, next_page_token=token)

    async def ForgetEvents(self, request: pb.ForgetEventsRequest, context: Context) -> pb.ForgetEventsResponse:
        check = FieldCheck(self._encoder.dim)
        user_id = check.id("user_id", request.user_id)
        check.count("event_ids", request.event_ids, 1, MAX_FORGET_IDS)
        event_ids = [check.id(f"event_ids[{i}]", event_id) for i, event_id in enumerate(request.event_ids)]
        check.finish()
        with self._stored(user_id) as stored_id:
            forgotten = await self._records.forget(stored_id, event_ids)
        return pb.ForgetEventsResponse(forgotten_count=len(forgotten.events), revision=forgotten.revision)

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        with self._stored(self._user_id(request.user_id)) as stored_id:
            return pb.DeleteUserResponse(deleted_event_count=await self._records.delete(stored_id))

    async def ExportUser(self, request: pb.ExportUserRequest, context: Context) -> AsyncIterator[pb.ExportUserResponse]:
        with self._stored(self._user_id(request.user_id)) as stored_id:
            events = await self._records.all_events(stored_id)
        for start in range(0, len(events), EXPORT_EVENT_COUNT):
            piece = events[start : start + EXPORT_EVENT_COUNT]
            yield pb.ExportUserResponse(events=[stored_event_message(event) for event in piece])

    @contextmanager
    def _stored(self, user_id: str) -> Iterator[str]:
        """Give the id under which a user is kept; where the user is unknown, the caller is told by the caller's id."""
        try:
            yield self._user_ids.stored(user_id)
        except UnknownUserError as error:
            raise NotFoundError("user", user_id, f"user {user_id!r} has no events") from error

    def _user_id(self, value: str) -> str:
        check = FieldCheck(self._encoder.dim)
        user_id = check.id("user_id", value)
        check.finish()
        return user_id
