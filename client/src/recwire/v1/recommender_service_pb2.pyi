from recwire.v1 import event_pb2 as _event_pb2
from recwire.v1 import model_pb2 as _model_pb2
from recwire.v1 import recommendation_pb2 as _recommendation_pb2
from recwire.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbedPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBED_PURPOSE_UNSPECIFIED: _ClassVar[EmbedPurpose]
    EMBED_PURPOSE_QUERY: _ClassVar[EmbedPurpose]
    EMBED_PURPOSE_DOCUMENT: _ClassVar[EmbedPurpose]

class LongText(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LONG_TEXT_UNSPECIFIED: _ClassVar[LongText]
    LONG_TEXT_MEAN_OF_CHUNKS: _ClassVar[LongText]
    LONG_TEXT_TRUNCATE: _ClassVar[LongText]
    LONG_TEXT_REJECT: _ClassVar[LongText]
EMBED_PURPOSE_UNSPECIFIED: EmbedPurpose
EMBED_PURPOSE_QUERY: EmbedPurpose
EMBED_PURPOSE_DOCUMENT: EmbedPurpose
LONG_TEXT_UNSPECIFIED: LongText
LONG_TEXT_MEAN_OF_CHUNKS: LongText
LONG_TEXT_TRUNCATE: LongText
LONG_TEXT_REJECT: LongText

class EmbedRequest(_message.Message):
    __slots__ = ("texts", "purpose", "long_text")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    LONG_TEXT_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    purpose: EmbedPurpose
    long_text: LongText
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., purpose: _Optional[_Union[EmbedPurpose, str]] = ..., long_text: _Optional[_Union[LongText, str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("embeddings", "dimension", "model")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    dimension: int
    model: _model_pb2.ModelVersion
    def __init__(self, embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., dimension: _Optional[int] = ..., model: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("vector", "token_count", "truncated")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    vector: bytes
    token_count: int
    truncated: bool
    def __init__(self, vector: _Optional[bytes] = ..., token_count: _Optional[int] = ..., truncated: bool = ...) -> None: ...

class EmbedStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: EmbedRequest
    def __init__(self, request: _Optional[_Union[EmbedRequest, _Mapping]] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: EmbedResponse
    error: _stream_pb2.StreamError
    def __init__(self, response: _Optional[_Union[EmbedResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.StreamError, _Mapping]] = ...) -> None: ...

class UpdateUserRequest(_message.Message):
    __slots__ = ("user_id", "events", "recommend")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    RECOMMEND_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    recommend: _recommendation_pb2.RecommendOptions
    def __init__(self, user_id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., recommend: _Optional[_Union[_recommendation_pb2.RecommendOptions, _Mapping]] = ...) -> None: ...

class UpdateUserResponse(_message.Message):
    __slots__ = ("revision", "applied_count", "duplicate_event_ids", "recommendation", "pending_item_ids")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_FIELD_NUMBER: _ClassVar[int]
    PENDING_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    applied_count: int
    duplicate_event_ids: _containers.RepeatedScalarFieldContainer[str]
    recommendation: _recommendation_pb2.RecommendResponse
    pending_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, revision: _Optional[int] = ..., applied_count: _Optional[int] = ..., duplicate_event_ids: _Optional[_Iterable[str]] = ..., recommendation: _Optional[_Union[_recommendation_pb2.RecommendResponse, _Mapping]] = ..., pending_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateUserStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: UpdateUserRequest
    def __init__(self, request: _Optional[_Union[UpdateUserRequest, _Mapping]] = ...) -> None: ...

class UpdateUserStreamResponse(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: UpdateUserResponse
    error: _stream_pb2.StreamError
    def __init__(self, response: _Optional[_Union[UpdateUserResponse, _Mapping]] = ..., error: _Optional[_Union[_stream_pb2.StreamError, _Mapping]] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "session", "item_id", "text", "vector", "options", "min_revision")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    session: Session
    item_id: str
    text: str
    vector: bytes
    options: _recommendation_pb2.RecommendOptions
    min_revision: int
    def __init__(self, user_id: _Optional[str] = ..., session: _Optional[_Union[Session, _Mapping]] = ..., item_id: _Optional[str] = ..., text: _Optional[str] = ..., vector: _Optional[bytes] = ..., options: _Optional[_Union[_recommendation_pb2.RecommendOptions, _Mapping]] = ..., min_revision: _Optional[int] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    def __init__(self, events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ...) -> None: ...
