import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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
    __slots__ = ("server_version", "model", "dimension", "item_count", "user_count", "index_generation", "recall_target", "measured_recall", "ef_search", "vector_space", "catalog_revision", "start_time", "embedding_cache", "index", "memory")
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
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
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
    index: IndexInfo
    memory: MemoryInfo
    def __init__(self, server_version: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., dimension: _Optional[int] = ..., item_count: _Optional[int] = ..., user_count: _Optional[int] = ..., index_generation: _Optional[int] = ..., recall_target: _Optional[float] = ..., measured_recall: _Optional[float] = ..., ef_search: _Optional[int] = ..., vector_space: _Optional[str] = ..., catalog_revision: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., embedding_cache: _Optional[_Union[EmbeddingCacheInfo, _Mapping]] = ..., index: _Optional[_Union[IndexInfo, _Mapping]] = ..., memory: _Optional[_Union[MemoryInfo, _Mapping]] = ...) -> None: ...

class IndexInfo(_message.Message):
    __slots__ = ("method", "reason", "scan_cpu_duration", "graph_cpu_duration", "width", "recalls", "live_recall", "live_sample_count", "row_count", "removed_row_count", "scored_row_count", "is_rebuilding")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SCAN_CPU_DURATION_FIELD_NUMBER: _ClassVar[int]
    GRAPH_CPU_DURATION_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    RECALLS_FIELD_NUMBER: _ClassVar[int]
    LIVE_RECALL_FIELD_NUMBER: _ClassVar[int]
    LIVE_SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCORED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_REBUILDING_FIELD_NUMBER: _ClassVar[int]
    method: str
    reason: str
    scan_cpu_duration: _duration_pb2.Duration
    graph_cpu_duration: _duration_pb2.Duration
    width: int
    recalls: _containers.RepeatedCompositeFieldContainer[KindRecall]
    live_recall: float
    live_sample_count: int
    row_count: int
    removed_row_count: int
    scored_row_count: int
    is_rebuilding: bool
    def __init__(self, method: _Optional[str] = ..., reason: _Optional[str] = ..., scan_cpu_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., graph_cpu_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., width: _Optional[int] = ..., recalls: _Optional[_Iterable[_Union[KindRecall, _Mapping]]] = ..., live_recall: _Optional[float] = ..., live_sample_count: _Optional[int] = ..., row_count: _Optional[int] = ..., removed_row_count: _Optional[int] = ..., scored_row_count: _Optional[int] = ..., is_rebuilding: bool = ...) -> None: ...

class KindRecall(_message.Message):
    __slots__ = ("kind", "recall")
    KIND_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    recall: float
    def __init__(self, kind: _Optional[str] = ..., recall: _Optional[float] = ...) -> None: ...

class MemoryInfo(_message.Message):
    __slots__ = ("resident_bytes", "index_bytes", "index_mapped_bytes", "bytes_per_item", "rebuild_bytes", "user_cache_bytes", "user_cache_max_bytes", "cached_user_count")
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    INDEX_MAPPED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_ITEM_FIELD_NUMBER: _ClassVar[int]
    REBUILD_BYTES_FIELD_NUMBER: _ClassVar[int]
    USER_CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USER_CACHE_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHED_USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    resident_bytes: int
    index_bytes: int
    index_mapped_bytes: int
    bytes_per_item: int
    rebuild_bytes: int
    user_cache_bytes: int
    user_cache_max_bytes: int
    cached_user_count: int
    def __init__(self, resident_bytes: _Optional[int] = ..., index_bytes: _Optional[int] = ..., index_mapped_bytes: _Optional[int] = ..., bytes_per_item: _Optional[int] = ..., rebuild_bytes: _Optional[int] = ..., user_cache_bytes: _Optional[int] = ..., user_cache_max_bytes: _Optional[int] = ..., cached_user_count: _Optional[int] = ...) -> None: ...

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
