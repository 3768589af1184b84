"""What can be asked for, and what is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from recwire_server.event import Event
from recwire_server.filter import Boost, Filter
from recwire_server.item import Item
from recwire_server.vector import Vector

NO_FILTER = Filter()


@dataclass(frozen=True)
class UserTarget:
    """A stored user; min_revision: wait until the state is at least this new, 0: do not wait."""

    user_id: str
    min_revision: int = 0


@dataclass(frozen=True)
class SessionTarget:
    """A visitor without a stored user."""

    events: Sequence[Event]


@dataclass(frozen=True)
class ItemTarget:
    """Items similar to this one."""

    item_id: str


@dataclass(frozen=True)
class TextTarget:
    """Items near this text."""

    text: str


@dataclass(frozen=True)
class VectorTarget:
    """Items near this vector: (dim,) before the vector space."""

    vector: Vector


Target = UserTarget | SessionTarget | ItemTarget | TextTarget | VectorTarget


@dataclass(frozen=True)
class Options:
    """How to answer; the field names and meanings are those of RecommendOptions on the wire."""

    limit: int = 10
    exclude_item_ids: frozenset[str] = frozenset()
    exclude_seen: bool = True
    explain: bool = False
    ignore_event_ids: frozenset[str] = frozenset()
    exact: bool = False
    include_items: bool = False
    min_score: float | None = None
    filter: Filter = NO_FILTER
    item_ids: frozenset[str] | None = None
    boosts: tuple[Boost, ...] = ()
    diversity: float = 0.0
    rotation_ns: int = 0


class Strategy(Enum):
    """Where a recommendation came from; the numbers are the wire's."""

    PERSONALIZED = 1
    POPULAR = 2
    RECENT = 3
    SIMILAR = 4


class Shortfall(Enum):
    """Why an answer is short; the numbers are the wire's."""

    NONE = 0
    CATALOG_EXHAUSTED = 1
    FILTER_TOO_NARROW = 2


@dataclass(frozen=True)
class Contribution:
    """A part of a score: of an event ("event"), of the older events together ("history"), of the target itself
    ("query"), of what is popular ("prior") or new ("recency"), or of a business rule ("boost")."""

    event_id: str
    item_id: str
    value: float
    part: str


class Recommendation(NamedTuple):
    """One recommended item; contributions add up to the score, and are there only where they were asked for."""

    item_id: str
    score: float
    strategy: Strategy
    contributions: Sequence[Contribution] = ()
    item: Item | None = None


@dataclass(frozen=True)
class Answer:
    """Recommendations, best first; revision: the user's, 0 for other targets."""

    recommendations: Sequence[Recommendation]
    revision: int
    recommendation_id: str
    shortfall: Shortfall
