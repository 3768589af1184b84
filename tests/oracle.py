"""A recommender as plain as can be: lists, replay from the start for each question, a scan of all items, no cache.

It follows the contract's words and the design's formulas, not the server's code:
v(u) = sum(w_i * decay_i * e_i) / sum(|w_i| * decay_i), f(u, c) = dot(v(u), v(c)) + prior + boosts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from contract_words import (
    NS_PER_S,
    Recorded,
    Rules,
    alike,
    event_time_ns,
    holds,
    is_out,
    nanoseconds,
    passes,
    session_records,
)

from recwire import (
    Event,
    Item,
    RecommendOptions,
    SeenPolicy,
    Shortfall,
    Strategy,
    from_bytes,
)
from recwire.v1.recommender_service_pb2 import RecommendRequest
from recwire_server.encoder import Purpose
from recwire_server.encoder.embedding import encode
from recwire_server.testing import HashEncoder


@dataclass(frozen=True)
class Written:
    """An item, its vector before the vector space, and when it was written."""

    item: Item
    vector: np.ndarray
    time_ns: int

    @property
    def new_since_ns(self) -> int:
        return nanoseconds(self.item.publish_time) if self.item.HasField("publish_time") else self.time_ns


@dataclass(frozen=True)
class Share:
    """What a vector is a sum of: coefficient * vector. part: as in Contribution."""

    part: str
    event_id: str
    coefficient: float
    vector: np.ndarray


@dataclass(frozen=True)
class Scored:
    """An item that may be in the answer; parts: what its score is the sum of, by (part, event id)."""

    item_id: str
    score: float
    parts: Mapping[tuple[str, str], float]
    strategy: int
    relevance: float  # what diversity weighs: the cosine to the target, with prior and boosts to its scale
    unit: np.ndarray
    new_since_ns: int


@dataclass(frozen=True)
class Expected:
    """The answer to be expected.

    ranked: all that may be in it, best first. count: how many are in it. is_certain: False where events cancel out to
    about what rounding leaves of them, so that the formulas do not say what is known of the user.
    """

    ranked: Sequence[Scored]
    count: int
    shortfall: int
    is_certain: bool = True


@dataclass
class Oracle:
    """The catalogue, every item vector that ever was, and all events, in one vector space.

    mean: what the space subtracts before it scales to unit length; None: plain.
    """

    rules: Rules = field(default_factory=Rules)
    mean: np.ndarray | None = None
    encoder: HashEncoder = field(default_factory=HashEncoder)
    items: dict[str, Written] = field(default_factory=dict)
    last_vectors: dict[str, np.ndarray] = field(default_factory=dict)
    logs: dict[str, list[Recorded]] = field(default_factory=lambda: defaultdict(list))
    recorded_count: int = 0

    def upsert(self, items: Iterable[Item], now_ns: int = 0) -> None:
        for item in items:
            self.items[item.item_id] = Written(item, self.raw_item_vector(item), now_ns)
            self.last_vectors[item.item_id] = self.items[item.item_id].vector

    def delete(self, item_ids: Iterable[str]) -> None:
        for item_id in item_ids:
            self.items.pop(item_id, None)

    def record(self, user_id: str, events: Iterable[Event], now_ns: int) -> list[str]:
        """Record events; return the ids of those that were known already."""
        known = []
        for event in events:
            if any(event.event_id == old.event.event_id for old in self.logs[user_id]):
                known.append(event.event_id)
                continue
            self.recorded_count += 1
            self.logs[user_id].append(Recorded(event, event_time_ns(event, now_ns), now_ns, self.recorded_count))
        return known

    def forget(self, user_id: str, event_ids: Iterable[str]) -> int:
        """Take events back; return how many were there."""
        gone = set(event_ids)
        kept = [one for one in self.logs[user_id] if one.event.event_id not in gone]
        count = len(self.logs[user_id]) - len(kept)
        self.logs[user_id] = kept
        return count

    def recommend(self, request: RecommendRequest, now_ns: int) -> Expected:
        """Answer from the start."""
        options = request.options
        popularity = self.popularity(now_ns)
        match request.WhichOneof("target"):
            case "user_id":
                log = self.logs[request.user_id]
                ignored = [one for one in log if one.event.event_id in options.ignore_event_ids]
                popularity = self.popularity(now_ns, ignored)
                return self._for_history([one for one in log if one not in ignored], popularity, options, now_ns)
            case "session":
                records = session_records(request.session.events, now_ns)
                counted = [one for one in records if one.event.event_id not in options.ignore_event_ids]
                return self._for_history(counted, popularity, options, now_ns)
            case "item_id":
                vector, excluded = self.items[request.item_id].vector, {request.item_id}
            case "text":
                vector, excluded = self.embed(request.text, Purpose.QUERY), set()
            case _:
                vector, excluded = np.array(from_bytes(request.vector), np.float64), set()
        shares = [Share("query", "", 1.0, self.served(vector))]
        return self._answer(shares[0].vector, shares, popularity, excluded, options, now_ns)

    def shares(self, records: Iterable[Recorded]) -> list[Share]:
        """What v(u) is the sum of, oldest first; older events are one share each, of the part "history"."""
        rules = self.rules
        in_order = sorted(records, key=lambda one: (one.time_ns, one.number))
        counted: list[Recorded] = []
        for one in in_order:
            window_ns = rules.repeat_window_s * NS_PER_S
            is_repeat = window_ns and any(
                alike(one.event, before.event) and one.time_ns - before.time_ns <= window_ns for before in counted
            )
            if not is_repeat:
                counted.append(one)
        newest = {one.number for one in in_order[-rules.max_history_events :]}
        moving = [
            (one, rules.weight(one.event), vector)
            for one in counted
            if (one.number in newest or rules.older_events == "count")
            and rules.weight(one.event)
            and (vector := self.event_vector(one.event)) is not None
        ]
        weights = []
        for age, (one, weight, _) in enumerate(reversed(moving)):
            decay = rules.decay_per_event**age
            if rules.decay_half_life_s:
                decay *= 2 ** (-(moving[-1][0].time_ns - one.time_ns) / NS_PER_S / rules.decay_half_life_s)
            weights.append(weight * decay)
        n = sum(abs(weight) for weight in weights)
        return [
            Share("event", one.event.event_id, weight / n, vector)
            if one.number in newest
            else Share("history", "", weight / n, vector)
            for (one, _, vector), weight in zip(moving, weights[::-1], strict=True)
        ]

    def embed(self, text: str, purpose: Purpose) -> np.ndarray:
        return encode(self.encoder, [text], purpose)[0].vector.astype(np.float64)

    def raw_item_vector(self, item: Item) -> np.ndarray:
        """The client's vector, or the mean of the pieces' embeddings; a title that is no piece yet is the first."""
        if item.vector:
            return np.array(from_bytes(item.vector), np.float64)
        pieces = list(item.texts) if not item.title or item.title in item.texts else [item.title, *item.texts]
        mean = np.mean([self.embed(piece, Purpose.DOCUMENT) for piece in pieces], axis=0)
        return mean.astype(np.float32).astype(np.float64)  # vectors have float32 values everywhere

    def served(self, vector: np.ndarray) -> np.ndarray:
        if self.mean is None:
            return vector
        centred = vector - self.mean
        return (centred / np.linalg.norm(centred)).astype(np.float32).astype(np.float64)

    def event_vector(self, event: Event) -> np.ndarray | None:
        match event.WhichOneof("subject"):
            case "item_id":
                vector = self.last_vectors.get(event.item_id)
            case "text":
                vector = self.embed(event.text, Purpose.QUERY)
            case _:
                vector = np.array(from_bytes(event.vector), np.float64)
        return None if vector is None else self.served(vector)

    def popularity(self, now_ns: int, ignored: Sequence[Recorded] = ()) -> dict[str, float]:
        """Each item's share of the events of the most popular that can be recommended, ignored events aside."""
        sums = dict.fromkeys((item_id for item_id, one in self.items.items() if is_out(one.item, now_ns)), 0.0)
        half_life_s = self.rules.popularity_half_life_s
        for log in self.logs.values():
            for one in log:
                if one.event.item_id in sums and self.rules.weight(one.event) > 0 and one not in ignored:
                    age_s = (now_ns - min(one.time_ns, one.record_ns)) / NS_PER_S
                    sums[one.event.item_id] += 2 ** (-age_s / half_life_s) if half_life_s else 1
        most = max(sums.values(), default=0.0)
        return {item_id: round(value / most, 6) if most else 0.0 for item_id, value in sums.items()}

    def _for_history(
        self, records: Sequence[Recorded], popularity: Mapping[str, float], options: RecommendOptions, now_ns: int
    ) -> Expected:
        excluded = set()
        if options.seen != SeenPolicy.SEEN_POLICY_INCLUDE:
            excluded = {one.event.item_id for one in records if one.event.WhichOneof("subject") == "item_id"}
        shares = self.shares(records)
        size = sum(abs(share.coefficient) * np.abs(share.vector).max() for share in shares)
        query = sum((share.coefficient * share.vector for share in shares), np.zeros(self.encoder.dim))
        left = np.abs(query).max() / size if size else 0.0
        if left <= 1e-11:
            return self._answer(None, [], popularity, excluded, options, now_ns)
        expected = self._answer(query, shares, popularity, excluded, options, now_ns)
        return replace(expected, is_certain=left > 1e-7)

    def _answer(
        self,
        query: np.ndarray | None,
        shares: Sequence[Share],
        popularity: Mapping[str, float],
        excluded: set[str],
        options: RecommendOptions,
        now_ns: int,
    ) -> Expected:
        """Score every item. query: None for somebody of whom nothing is known."""
        excluded = excluded | set(options.exclude_item_ids)
        eligible = [
            self._scored(one, query, shares, popularity, options, now_ns)
            for item_id, one in self.items.items()
            if item_id not in excluded and is_out(one.item, now_ns)
        ]
        kept = [
            scored
            for scored in eligible
            if passes(self.items[scored.item_id].item, options.filter)
            and (not options.item_ids or scored.item_id in options.item_ids)
            and (not options.HasField("min_score") or scored.score >= options.min_score)
        ]
        kept.sort(key=lambda one: (-one.score, one.strategy, -recency_key(one), one.item_id))
        limit = options.limit or 10
        shortfall = Shortfall.SHORTFALL_UNSPECIFIED
        if len(kept) < limit:
            is_narrow = len(kept) < len(eligible)  # there would be more without the filter
            shortfall = Shortfall.SHORTFALL_FILTER_TOO_NARROW if is_narrow else Shortfall.SHORTFALL_CATALOG_EXHAUSTED
        return Expected(kept, min(limit, len(kept)), shortfall)

    def _scored(
        self,
        written: Written,
        query: np.ndarray | None,
        shares: Sequence[Share],
        popularity: Mapping[str, float],
        options: RecommendOptions,
        now_ns: int,
    ) -> Scored:
        item, vector = written.item, self.served(written.vector)
        parts: dict[tuple[str, str], float] = defaultdict(float)
        for share in shares:
            parts[share.part, share.event_id] += share.coefficient * float(share.vector @ vector)
        product = sum(parts.values())
        share_of_most = popularity[item.item_id]
        parts["prior", ""] = share_of_most * (1.0 if query is None else self.rules.popularity_weight)
        if query is not None and self.rules.recency_weight:
            age_s = max(0.0, (now_ns - written.new_since_ns) / NS_PER_S)
            parts["recency", ""] = self.rules.recency_weight * 2 ** (-age_s / self.rules.recency_half_life_s)
        parts["boost", ""] = sum(boost.add for boost in options.boosts if holds(item, boost.when))
        score = sum(parts.values())
        length = float(np.linalg.norm(vector))
        unit = vector / length if length else vector
        if query is None:
            strategy = Strategy.STRATEGY_POPULAR if share_of_most else Strategy.STRATEGY_RECENT
            return Scored(item.item_id, score, parts, strategy, score, unit, written.new_since_ns)
        is_similar = any(share.part == "query" for share in shares)
        strategy = Strategy.STRATEGY_SIMILAR if is_similar else Strategy.STRATEGY_PERSONALIZED
        relevance = float(query @ unit + score - product) / (float(np.linalg.norm(query)) or 1.0)
        return Scored(item.item_id, score, parts, strategy, relevance, unit, written.new_since_ns)


def recency_key(scored: Scored) -> int:
    """What orders the new among equals: the time; nothing does for others."""
    return scored.new_since_ns if scored.strategy == Strategy.STRATEGY_RECENT else 0
