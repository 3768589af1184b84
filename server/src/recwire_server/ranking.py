"""Candidates to recommendations: how many come back, why fewer, in what order, and what each score is the sum of."""

import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from recwire_server import candidate
from recwire_server.candidate import Candidate, Eligibility
from recwire_server.diversity import diverse, pool_size
from recwire_server.event import Event
from recwire_server.filter import Boost
from recwire_server.generation import Generation
from recwire_server.history import Term
from recwire_server.index import Labels
from recwire_server.index.adaptive import Method
from recwire_server.prior import Part, Prior, boost_parts, total
from recwire_server.recall_monitor import RecallMonitor
from recwire_server.recommendation import Contribution, Options, Recommendation, Shortfall, Strategy
from recwire_server.span import RecordSpan

# Two to the power of so many searches cost less than the scan that more boosts take.
MAX_GROUPED_BOOSTS = 3


@dataclass(frozen=True)
class Query:
    """What items are ranked by.

    vector: (dim,) float64. terms: the events that it is the sum of; none for a target that is a vector itself.
    excluded_item_ids: what must not come back.
    """

    vector: NDArray[np.float64]
    terms: Sequence[Term]
    strategy: Strategy
    excluded_item_ids: AbstractSet[str]


@dataclass(frozen=True)
class Ranking:
    """Recommendations, best first, and why they are fewer than were asked for."""

    recommendations: Sequence[Recommendation]
    shortfall: Shortfall


class Ranker:
    """Ranks the items of a generation. Belongs to the event loop.

    observe: told of each search, how the index was searched and for how many seconds. record_span: told what it was.
    """

    def __init__(
        self,
        prior: Prior,
        monitor: RecallMonitor,
        *,
        observe: Callable[[Method, float], None] = lambda method, duration_s: None,
        record_span: RecordSpan | None = None,
    ) -> None:
        self._prior = prior
        self._monitor = monitor
        self._observe = observe
        self._record_span = record_span

    def nearest(
        self, generation: Generation, query: Query, options: Options, now_ns: int, ignored: Sequence[Event] = ()
    ) -> Ranking:
        """Rank by inner product with the query; `limit` items come back whenever so many are eligible.

        ignored: events that make nothing popular.
        """
        if not options.exact:
            self._monitor.searched(generation, query.vector)
        prior_parts = self._prior.parts(generation, now_ns, ignored)
        parts = [*prior_parts, *boost_parts(generation, options.boosts)]
        eligibility = _eligibility(generation, query.excluded_item_ids, options, now_ns)
        extra = total(parts) if parts else None
        k = _candidate_count(options)
        begin_s = time.monotonic()
        if extra is not None and not prior_parts and not options.exact and len(options.boosts) <= MAX_GROUPED_BOOSTS:
            groups = _groups(generation, eligibility, options.boosts)
            found = candidate.find_by_groups(generation, query.vector, k, eligibility, extra, groups)
        else:
            found = candidate.find(generation, query.vector, k, eligibility, extra, exact=options.exact)
        self._tell(generation, eligibility, k, options, begin_s)
        kept = _kept(found, options)
        chosen = _chosen(generation, kept, options, query.vector)
        recommendations = [Recommendation(one.item_id, one.score, query.strategy) for one in chosen]
        if options.explain and chosen:
            recommendations = _explained(generation, query, recommendations, _labels(chosen), parts)
        return Ranking(recommendations, _shortfall(generation, eligibility, len(kept), options))

    def _tell(self, generation: Generation, eligibility: Eligibility, k: int, options: Options, begin_s: float) -> None:
        """Tell of a search that has just ended."""
        end_s = time.monotonic()
        index = generation.index
        method = Method.EXACT if options.exact else index.method
        self._observe(method, end_s - begin_s)
        if self._record_span is not None:
            passing = eligibility.passing
            attributes: dict[str, str | int] = {
                "recwire.search.method": method.value,
                "recwire.search.k": k,
                "recwire.search.item_count": len(generation),
                "recwire.search.passing_count": len(generation) if passing is None else len(passing),
                "recwire.search.excluded_count": len(eligibility.excluded_item_ids),
            }
            if index.sealed is not None and method is not Method.EXACT:
                attributes["recwire.search.width"] = index.sealed.calibration.width
                attributes["recwire.search.max_ef"] = index.sealed.calibration.max_ef_search
            self._record_span("search", begin_s, end_s, attributes)

    def cold(
        self,
        generation: Generation,
        excluded_item_ids: AbstractSet[str],
        options: Options,
        now_ns: int,
        ignored: Sequence[Event] = (),
    ) -> Ranking:
        """Rank for someone of whom nothing is known: what is popular, some events aside, then what is new."""
        popularity = Part("prior", self._prior.popularity(generation, now_ns, ignored))
        parts = [popularity, *boost_parts(generation, options.boosts)]
        eligibility = _eligibility(generation, excluded_item_ids, options, now_ns)
        is_popular = popularity.values > 0
        k = _candidate_count(options)
        found = candidate.find_without_query(generation, total(parts), is_popular, k, eligibility)
        kept = _kept(found, options)
        chosen = _chosen(generation, kept, options, None)
        recommendations = [
            Recommendation(
                one.item_id,
                one.score,
                Strategy.POPULAR if is_popular[one.label] else Strategy.RECENT,
                _of_parts(parts, one.label) if options.explain else (),
            )
            for one in chosen
        ]
        return Ranking(recommendations, _shortfall(generation, eligibility, len(kept), options))


def _eligibility(
    generation: Generation, excluded_item_ids: AbstractSet[str], options: Options, now_ns: int
) -> Eligibility:
    """Return which items may come back. `passing` is of live labels only."""
    passing: BitMap | None = None
    if options.item_ids is not None:
        passing = BitMap(generation.labels(options.item_ids))
    if not options.filter.is_empty:
        among = generation.live_labels if passing is None else passing
        passing = generation.attributes.passing(options.filter, among)
    return Eligibility(passing, excluded_item_ids, now_ns)


def _groups(generation: Generation, eligibility: Eligibility, boosts: Sequence[Boost]) -> list[BitMap]:
    """Return the labels that pass the filter, in groups that match the same boosts."""
    groups = [generation.live_labels if eligibility.passing is None else eligibility.passing]
    for boost in boosts:
        matching = generation.attributes.matching(boost.when)
        groups = [part for group in groups for part in (group & matching, group - matching) if part]
    return groups


def _candidate_count(options: Options) -> int:
    return pool_size(options.limit) if options.diversity else options.limit


def _kept(candidates: Sequence[Candidate], options: Options) -> Sequence[Candidate]:
    """Leave out what scores too low."""
    least = options.min_score
    return candidates if least is None else [one for one in candidates if one.score >= least]


def _chosen(
    generation: Generation, candidates: Sequence[Candidate], options: Options, target: NDArray[np.float64] | None
) -> Sequence[Candidate]:
    """Return those that come back, in their order. target: (dim,) what they are near; None: only scores count."""
    if not options.diversity or not candidates:
        return candidates[: options.limit]
    scores = np.array([one.score for one in candidates])
    vectors = generation.index.vectors(_labels(candidates)).astype(np.float64)
    relevances = scores if target is None else _relevances(scores, vectors, target)
    return [candidates[place] for place in diverse(relevances, vectors, options.limit, options.diversity)]


def _relevances(
    scores: NDArray[np.float64], vectors: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the cosines to the target, and what scores have beside the inner product on the same scale."""
    products = (vectors * target).sum(axis=1)  # the same wherever a row lies
    lengths = np.linalg.norm(vectors, axis=1)
    nearness = np.divide(products, lengths, out=np.zeros(len(products)), where=lengths > 0)
    relevances: NDArray[np.float64] = (nearness + scores - products) / (float(np.linalg.norm(target)) or 1.0)
    return relevances


def _shortfall(generation: Generation, eligibility: Eligibility, kept_count: int, options: Options) -> Shortfall:
    """Return why fewer than the limit were kept: the filter and min_score, if without them there were more."""
    if kept_count >= options.limit:
        return Shortfall.NONE
    unfiltered_count = len(replace(eligibility, passing=None).labels(generation))
    return Shortfall.FILTER_TOO_NARROW if unfiltered_count > kept_count else Shortfall.CATALOG_EXHAUSTED


def _labels(candidates: Sequence[Candidate]) -> Labels:
    return np.array([one.label for one in candidates], np.int64)


def _explained(
    generation: Generation,
    query: Query,
    recommendations: Sequence[Recommendation],
    labels: Labels,
    parts: Sequence[Part],
) -> list[Recommendation]:
    """Add what each score is the sum of: coefficient * dot(e_i, v(c)) by event, and the parts beside."""
    items = generation.index.vectors(labels).astype(np.float64)
    terms = query.terms or [Term(None, 1.0, query.vector)]
    vectors = np.stack([term.vector for term in terms]).astype(np.float64)
    coefficients = np.array([term.coefficient for term in terms])
    values = (vectors @ items.T) * coefficients[:, np.newaxis]  # (terms, items)
    without_event = "history" if query.terms else "query"
    return [
        recommendation._replace(
            contributions=[
                *(
                    _of_term(term, value, without_event)
                    for term, value in zip(terms, values[:, column].tolist(), strict=True)
                ),
                *_of_parts(parts, label),
            ],
        )
        for column, (recommendation, label) in enumerate(zip(recommendations, labels.tolist(), strict=True))
    ]


def _of_term(term: Term, value: float, without_event: str) -> Contribution:
    if term.event is None:
        return Contribution("", "", value, without_event)
    return Contribution(term.event.event_id, term.event.item_id or "", value, "event")


def _of_parts(parts: Sequence[Part], label: int) -> list[Contribution]:
    return [Contribution("", "", float(part.values[label]), part.name) for part in parts if part.values[label]]
