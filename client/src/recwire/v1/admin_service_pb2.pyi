import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from recwire.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckUsersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckUsersResponse(_message.Message):
    __slots__ = ("checked_count", "differing_user_ids")
    CHECKED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    checked_count: int
    differing_user_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, checked_count: _Optional[int] = ..., differing_user_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("server_version", "model", "dimension", "item_count", "user_count", "index_generation", "recall_target", "measured_recall", "ef_search", "vector_space", "catalog_revision", "start_time", "embedding_cache")
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    INDEX_GENERATION_FIELD_NUMBER: _ClassVar[int]
    RECALL_TARGET_FIELD_NUMBER: _ClassVar[int]
    MEASURED_RECALL_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    VECTOR_SPACE_FIELD_NUMBER: _ClassVar[int]
    CATALOG_REVISION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_CACHE_FIELD_NUMBER: _ClassVar[int]
    server_version: str
    model: _model_pb2.ModelVersion
    dimension: int
    item_count: int
    user_count: int
    index_generation: int
    recall_target: float
    measured_recall: float
    ef_search: int
    vector_space: str
    catalog_revision: int
    start_time: _timestamp_pb2.Timestamp
    embedding_cache: EmbeddingCacheInfo
    def __init__(self, server_version: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., dimension: _Optional[int] = ..., item_count: _Optional[int] = ..., user_count: _Optional[int] = ..., index_generation: _Optional[int] = ..., recall_target: _Optional[float] = ..., measured_recall: _Optional[float] = ..., ef_search: _Optional[int] = ..., vector_space: _Optional[str] = ..., catalog_revision: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., embedding_cache: _Optional[_Union[EmbeddingCacheInfo, _Mapping]] = ...) -> None: ...

class EmbeddingCacheInfo(_message.Message):
    __slots__ = ("hit_count", "miss_count", "eviction_count", "entry_count", "size_bytes")
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISS_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVICTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    hit_count: int
    miss_count: int
    eviction_count: int
    entry_count: int
    size_bytes: int
    def __init__(self, hit_count: _Optional[int] = ..., miss_count: _Optional[int] = ..., eviction_count: _Optional[int] = ..., entry_count: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...
