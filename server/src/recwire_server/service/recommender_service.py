"""The rpcs of RecommenderService."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from enum import IntEnum
from typing import Any

import grpc

from recwire.v1 import recommendation_pb2
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceServicer
from recwire_server.encoder import Encoder, LongText, Priority, Purpose
from recwire_server.recommendation import Options, UserTarget
from recwire_server.recommender import Recommender
from recwire_server.service.deadline import deadline_s
from recwire_server.service.event_message import event_from
from recwire_server.service.field import FieldCheck
from recwire_server.service.recommendation_message import (
    answer_message,
    model_message,
    options_from,
    target_from,
)
from recwire_server.service.status import ErrorTeller
from recwire_server.service.stream import answer_in_order
from recwire_server.user_id import UserIds

MAX_TEXTS = 256
MAX_EVENTS = 256
# Of a stream; what is in work at the same time shares commits. Past some dozens an fsync no longer counts.
MAX_UPDATES_IN_WORK = 64
# How long Recommend waits for min_revision where the caller set no deadline: a commit takes milliseconds.
MAX_REVISION_WAIT_S = 5.0
# Of a deadline, this share is waited: the rest brings the answer home.
REVISION_WAIT_SHARE = 0.8

Context = grpc.aio.ServicerContext[Any, Any]


class RecommenderService(RecommenderServiceServicer):
    """Embed, EmbedStream, UpdateUser, UpdateUserStream, Recommend. default_timeout_s: of calls that set no deadline."""

    def __init__(
        self,
        recommender: Recommender,
        encoder: Encoder,
        user_ids: UserIds,
        teller: ErrorTeller,
        default_timeout_s: float,
    ) -> None:
        self._recommender = recommender
        self._encoder = encoder
        self._user_ids = user_ids
        self._teller = teller
        self._default_timeout_s = default_timeout_s
        self._model = model_message(encoder.model)

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        return await self._embed(request, Priority.INTERACTIVE, self._deadline_s(context))

    async def EmbedStream(
        self, requests: AsyncIterator[pb.EmbedStreamRequest], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        async def answer(message: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
            response = await self._embed(message.request, Priority.BULK, deadline_s(context))
            return pb.EmbedStreamResponse(response=response)

        def refusal(error: Exception) -> pb.EmbedStreamResponse:
            return pb.EmbedStreamResponse(error=self._teller.stream_error(error, "RecommenderService/EmbedStream"))

        async with aclosing(answer_in_order(requests, answer, refusal)) as responses:
            async for response in responses:
                yield response

    async def _embed(self, request: pb.EmbedRequest, priority: Priority, until_s: float) -> pb.EmbedResponse:
        check = FieldCheck(self._encoder.dim)
        check.count("texts", request.texts, 1, MAX_TEXTS)
        texts = [check.text(f"texts[{i}]", text) for i, text in enumerate(request.texts)]
        purpose = check.enum("purpose", request.purpose, _EmbedPurpose)
        long_text = check.enum("long_text", request.long_text, _LongText)
        check.finish()
        embeddings = await self._recommender.embed(texts, PURPOSES[purpose], LONG_TEXTS[long_text], priority, until_s)
        response = pb.EmbedResponse(dimension=self._encoder.dim, model=self._model)
        for embedding in embeddings:
            response.embeddings.add(
                vector=embedding.vector.astype("<f4", copy=False).tobytes(),
                token_count=embedding.token_count,
                truncated=embedding.truncated,
            )
        return response

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.UpdateUserResponse:
        return await self._update_user(request, self._deadline_s(context))

    async def UpdateUserStream(
        self, requests: AsyncIterator[pb.UpdateUserStreamRequest], context: Context
    ) -> AsyncIterator[pb.UpdateUserStreamResponse]:
        async def answer(message: pb.UpdateUserStreamRequest) -> pb.UpdateUserStreamResponse:
            return pb.UpdateUserStreamResponse(response=await self._update_user(message.request, deadline_s(context)))

        def refusal(error: Exception) -> pb.UpdateUserStreamResponse:
            return pb.UpdateUserStreamResponse(
                error=self._teller.stream_error(error, "RecommenderService/UpdateUserStream")
            )

        responses = answer_in_order(requests, answer, refusal, max_in_work=MAX_UPDATES_IN_WORK)
        async with aclosing(responses):
            async for response in responses:
                yield response

    async def _update_user(self, request: pb.UpdateUserRequest, until_s: float) -> pb.UpdateUserResponse:
        check = FieldCheck(self._encoder.dim)
        now_ns = time.time_ns()
        user_id = self._user_ids.stored(check.id("user_id", request.user_id))
        check.count("events", request.events, 1, MAX_EVENTS)
        events = [event_from(event, f"events[{i}]", now_ns, check) for i, event in enumerate(request.events)]
        options: Options | None = None
        if request.HasField("recommend"):
            options = options_from(request.recommend, "recommend", check)
        check.finish()
        update = await self._recommender.update_user(user_id, events, until_s)
        response = pb.UpdateUserResponse(
            revision=update.revision,
            applied_count=update.applied_count,
            duplicate_event_ids=update.duplicate_event_ids,
            pending_item_ids=update.pending_item_ids,
        )
        if options is not None:
            answer = await self._recommender.recommend(UserTarget(user_id), options, timeout_s=0)
            response.recommendation.CopyFrom(answer_message(answer, self._encoder.model))
        return response

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> recommendation_pb2.RecommendResponse:
        check = FieldCheck(self._encoder.dim)
        target = target_from(request, time.time_ns(), check, self._user_ids)
        options = options_from(request.options, "options", check)
        if options.rotation_ns and not isinstance(target, UserTarget):
            check.add("options.rotation", "goes with user_id only: nobody else is remembered")
        check.finish()
        until_s = self._deadline_s(context)
        remaining_s = context.time_remaining()
        wait_s = MAX_REVISION_WAIT_S if remaining_s is None else REVISION_WAIT_SHARE * remaining_s
        answer = await self._recommender.recommend(target, options, wait_s, until_s)
        return answer_message(answer, self._encoder.model)

    def _deadline_s(self, context: Context) -> float:
        return deadline_s(context, self._default_timeout_s)


class _EmbedPurpose(IntEnum):
    """The wire's numbers."""

    UNSPECIFIED = 0
    QUERY = 1
    DOCUMENT = 2


class _LongText(IntEnum):
    """The wire's numbers."""

    UNSPECIFIED = 0
    MEAN_OF_CHUNKS = 1
    TRUNCATE = 2
    REJECT = 3


PURPOSES = {
    _EmbedPurpose.UNSPECIFIED: Purpose.QUERY,
    _EmbedPurpose.QUERY: Purpose.QUERY,
    _EmbedPurpose.DOCUMENT: Purpose.DOCUMENT,
}
LONG_TEXTS = {
    _LongText.UNSPECIFIED: LongText.MEAN_OF_CHUNKS,
    _LongText.MEAN_OF_CHUNKS: LongText.MEAN_OF_CHUNKS,
    _LongText.TRUNCATE: LongText.TRUNCATE,
    _LongText.REJECT: LongText.REJECT,
}
