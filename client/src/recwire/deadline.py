"""How long a call may take."""

from google.protobuf.message import Message

from recwire.v1.catalog_service_pb2 import ImportItemsRequest, UpsertItemsRequest
from recwire.v1.recommender_service_pb2 import (
    EmbedRequest,
    EmbedStreamRequest,
    UpdateUserRequest,
    UpdateUserStreamRequest,
)

CALL_S = 5.0  # a person waits for the answer; it also leaves room for every retry (see channel)
TEXT_S = 0.2  # added for each text to embed: one of 512 tokens takes about .17 s of one core without quantization


def choose_s(request: Message, *wishes_s: float | None) -> float:
    """Return the first wish that is one (the call's, then the client's), or else what suits the request."""
    for wish_s in wishes_s:
        if wish_s is not None:
            return wish_s
    return CALL_S + TEXT_S * _text_count(request)


def _text_count(request: Message) -> int:
    if isinstance(request, EmbedRequest):
        return len(request.texts)
    if isinstance(request, EmbedStreamRequest):
        return len(request.request.texts)
    if isinstance(request, UpdateUserRequest):
        return len(request.events)
    if isinstance(request, UpdateUserStreamRequest):
        return len(request.request.events)
    if isinstance(request, (UpsertItemsRequest, ImportItemsRequest)):
        return sum(len(item.texts) + 1 for item in request.items)  # 1: the title
    return 0
