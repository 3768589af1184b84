"""The rpcs of UserService."""

from typing import Any

import grpc

from recwire.v1 import user_service_pb2 as pb
from recwire.v1.user_service_pb2_grpc import UserServiceServicer
from recwire_server.encoder import Encoder
from recwire_server.recommender import Recommender
from recwire_server.service.event_message import stored_event_message
from recwire_server.service.field import FieldCheck

NEWEST_EVENT_COUNT = 10

Context = grpc.aio.ServicerContext[Any, Any]


class UserService(UserServiceServicer):
    """GetUser, DeleteUser."""

    def __init__(self, recommender: Recommender, encoder: Encoder) -> None:
        self._recommender = recommender
        self._encoder = encoder

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        user = await self._recommender.user(self._user_id(request.user_id))
        return pb.GetUserResponse(
            user_id=request.user_id,
            revision=user.revision,
            event_count=len(user.events),
            seen_count=user.seen_count,
            newest_events=[
                stored_event_message(event, event.item_id in user.pending_item_ids)
                for event in reversed(user.events[-NEWEST_EVENT_COUNT:])
            ],
            vector=user.vector.astype("<f4").tobytes(),
        )

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        return pb.DeleteUserResponse(
            deleted_event_count=await self._recommender.delete_user(self._user_id(request.user_id))
        )

    def _user_id(self, value: str) -> str:
        check = FieldCheck(self._encoder.dim)
        user_id = check.id("user_id", value)
        check.finish()
        return user_id
