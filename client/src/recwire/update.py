"""Updates of users in a stream, as a caller passes them and as they come back."""

from collections.abc import Iterable
from dataclasses import dataclass

from recwire import errors
from recwire.errors import RecwireError
from recwire.v1.event_pb2 import Event
from recwire.v1.recommendation_pb2 import RecommendOptions
from recwire.v1.recommender_service_pb2 import (
    UpdateUserResponse,
    UpdateUserStreamRequest,
    UpdateUserStreamResponse,
)


@dataclass(frozen=True)
class UserUpdate:
    """1-256 events of a user, for update_user_stream(). recommend: as in update_user()."""

    user_id: str
    events: Iterable[Event]
    recommend: RecommendOptions | None = None


@dataclass(frozen=True)
class UpdateOutcome:
    """What became of an update: exactly one of response and error is set.

    update: as it was sent, an id in each of its events; passed to update_user_stream() again, it counts nothing twice.
    response: it is durable. error: nothing of it is recorded; FixRequestError, TryLaterError or ServerFaultError.
    """

    update: UserUpdate
    response: UpdateUserResponse | None
    error: RecwireError | None


def outcome(request: UpdateUserStreamRequest, answer: UpdateUserStreamResponse) -> UpdateOutcome:
    """Return what the wire carried there and back."""
    sent = request.request
    update = UserUpdate(sent.user_id, tuple(sent.events), sent.recommend if sent.HasField("recommend") else None)
    if answer.HasField("error"):
        return UpdateOutcome(update, None, errors.from_stream_error(answer.error))
    return UpdateOutcome(update, answer.response, None)
