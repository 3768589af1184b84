import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from recwire.v1 import filter_pb2 as _filter_pb2
from recwire.v1 import item_pb2 as _item_pb2
from recwire.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SeenPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEEN_POLICY_UNSPECIFIED: _ClassVar[SeenPolicy]
    SEEN_POLICY_EXCLUDE: _ClassVar[SeenPolicy]
    SEEN_POLICY_INCLUDE: _ClassVar[SeenPolicy]

class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATEGY_UNSPECIFIED: _ClassVar[Strategy]
    STRATEGY_PERSONALIZED: _ClassVar[Strategy]
    STRATEGY_POPULAR: _ClassVar[Strategy]
    STRATEGY_RECENT: _ClassVar[Strategy]
    STRATEGY_SIMILAR: _ClassVar[Strategy]

class Shortfall(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHORTFALL_UNSPECIFIED: _ClassVar[Shortfall]
    SHORTFALL_CATALOG_EXHAUSTED: _ClassVar[Shortfall]
    SHORTFALL_FILTER_TOO_NARROW: _ClassVar[Shortfall]
SEEN_POLICY_UNSPECIFIED: SeenPolicy
SEEN_POLICY_EXCLUDE: SeenPolicy
SEEN_POLICY_INCLUDE: SeenPolicy
STRATEGY_UNSPECIFIED: Strategy
STRATEGY_PERSONALIZED: Strategy
STRATEGY_POPULAR: Strategy
STRATEGY_RECENT: Strategy
STRATEGY_SIMILAR: Strategy
SHORTFALL_UNSPECIFIED: Shortfall
SHORTFALL_CATALOG_EXHAUSTED: Shortfall
SHORTFALL_FILTER_TOO_NARROW: Shortfall

class RecommendOptions(_message.Message):
    __slots__ = ("limit", "filter", "exclude_item_ids", "seen", "explain", "diversity", "ignore_event_ids", "exact", "include_items", "rotation", "boosts", "min_score", "item_ids")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    IGNORE_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    BOOSTS_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    limit: int
    filter: _filter_pb2.Filter
    exclude_item_ids: _containers.RepeatedScalarFieldContainer[str]
    seen: SeenPolicy
    explain: bool
    diversity: float
    ignore_event_ids: _containers.RepeatedScalarFieldContainer[str]
    exact: bool
    include_items: bool
    rotation: _duration_pb2.Duration
    boosts: _containers.RepeatedCompositeFieldContainer[_filter_pb2.Boost]
    min_score: float
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, limit: _Optional[int] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., exclude_item_ids: _Optional[_Iterable[str]] = ..., seen: _Optional[_Union[SeenPolicy, str]] = ..., explain: bool = ..., diversity: _Optional[float] = ..., ignore_event_ids: _Optional[_Iterable[str]] = ..., exact: bool = ..., include_items: bool = ..., rotation: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., boosts: _Optional[_Iterable[_Union[_filter_pb2.Boost, _Mapping]]] = ..., min_score: _Optional[float] = ..., item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("recommendations", "revision", "model", "recommendation_id", "shortfall")
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_ID_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    revision: int
    model: _model_pb2.ModelVersion
    recommendation_id: str
    shortfall: Shortfall
    def __init__(self, recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., revision: _Optional[int] = ..., model: _Optional[_Union[_model_pb2.ModelVersion, _Mapping]] = ..., recommendation_id: _Optional[str] = ..., shortfall: _Optional[_Union[Shortfall, str]] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("item_id", "score", "strategy", "contributions", "item")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    score: float
    strategy: Strategy
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    item: _item_pb2.Item
    def __init__(self, item_id: _Optional[str] = ..., score: _Optional[float] = ..., strategy: _Optional[_Union[Strategy, str]] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., item: _Optional[_Union[_item_pb2.Item, _Mapping]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("event_id", "item_id", "value", "part")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    item_id: str
    value: float
    part: str
    def __init__(self, event_id: _Optional[str] = ..., item_id: _Optional[str] = ..., value: _Optional[float] = ..., part: _Optional[str] = ...) -> None: ...
