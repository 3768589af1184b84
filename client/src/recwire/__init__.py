"""The Python client of recwire: what a user just did goes in, what to show next comes out.

    import recwire

    with recwire.Client("127.0.0.1:50051") as client:
        client.upsert_items([recwire.Item(item_id="1", title="A guide to hiking trails in the mountains.")])
        client.update_user("ada", [recwire.Event(text="mountains", type=recwire.EventType.EVENT_TYPE_SEARCH)])
        for recommendation in client.recommend("ada", limit=5).recommendations:
            print(recommendation.item_id, recommendation.score)

`AsyncClient` is the same with `await`. Items, events and answers are the contract's messages, `recwire.v1`.

Read in this order, in which a call meets them: `client` (or `aio`), `channel`, `credentials`, `service_config`,
`request` (and `aio_request`), `deadline`, `stream` (or `aio_stream`); on the way back `embedding`, `update`, `vector`,
`errors`.
"""

from recwire.aio import AsyncClient
from recwire.client import Client
from recwire.credentials import tls_credentials
from recwire.embedding import Embedding, Embeddings
from recwire.errors import (
    CallCancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    FixRequestError,
    InvalidArgumentError,
    MessageTooLargeError,
    NotFoundError,
    PermissionDeniedError,
    RecwireError,
    ResourceExhaustedError,
    ServerFaultError,
    TryLaterError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from recwire.update import UpdateOutcome, UserUpdate
from recwire.v1.event_pb2 import Event, EventType
from recwire.v1.filter_pb2 import Boost, Condition, Filter, NumberRange
from recwire.v1.item_pb2 import AttributeValue, Item, StringSet
from recwire.v1.recommendation_pb2 import (
    Recommendation,
    RecommendOptions,
    RecommendResponse,
    SeenPolicy,
    Shortfall,
    Strategy,
)
from recwire.v1.recommender_service_pb2 import EmbedPurpose, LongText
from recwire.v1.user_service_pb2 import StoredEvent
from recwire.vector import from_bytes, to_bytes

__all__ = [
    "AsyncClient",
    "AttributeValue",
    "Boost",
    "CallCancelledError",
    "Client",
    "Condition",
    "DeadlineExceededError",
    "EmbedPurpose",
    "Embedding",
    "Embeddings",
    "Event",
    "EventType",
    "FailedPreconditionError",
    "FieldViolation",
    "Filter",
    "FixRequestError",
    "InvalidArgumentError",
    "Item",
    "LongText",
    "MessageTooLargeError",
    "NotFoundError",
    "NumberRange",
    "PermissionDeniedError",
    "RecommendOptions",
    "RecommendResponse",
    "Recommendation",
    "RecwireError",
    "ResourceExhaustedError",
    "SeenPolicy",
    "ServerFaultError",
    "Shortfall",
    "StoredEvent",
    "Strategy",
    "StringSet",
    "TryLaterError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UpdateOutcome",
    "UserUpdate",
    "from_bytes",
    "tls_credentials",
    "to_bytes",
]
