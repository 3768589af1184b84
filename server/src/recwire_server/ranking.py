"""Candidates to recommendations: what is left out, how many come back, and why fewer."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from recwire_server.generation import Candidate, Generation
from recwire_server.history import Term
from recwire_server.popularity import Popularity
from recwire_server.recommendation import Contribution, Options, Recommendation, Shortfall, Strategy

FIRST_OVERFETCH = 3  # times the limit, for what is excluded


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


def nearest(generation: Generation, query: Query, options: Options, now_ns: int) -> Ranking:
    """Rank by inner product with the query; `limit` items come back whenever so many are eligible."""
    candidates = _eligible(generation, query, options, now_ns)[: options.limit]
    ranking = _cut([Recommendation(c.item_id, c.score, query.strategy) for c in candidates], options)
    if options.explain and ranking.recommendations:
        labels = [candidate.label for candidate in candidates[: len(ranking.recommendations)]]
        return replace(ranking, recommendations=_explained(generation, query, ranking.recommendations, labels))
    return ranking


def cold(
    generation: Generation,
    popularity: Popularity,
    excluded_item_ids: AbstractSet[str],
    options: Options,
    now_ns: int,
) -> Ranking:
    """Rank for someone of whom nothing is known: what is popular, then what is new."""
    popular = _popular(generation, popularity, now_ns)
    recent = (Recommendation(item_id, 0.0, Strategy.RECENT) for item_id in generation.newest(now_ns))
    recommendations: dict[str, Recommendation] = {}
    for recommendation in chain(popular, recent):
        if len(recommendations) == options.limit:
            break
        if recommendation.item_id not in excluded_item_ids:
            recommendations.setdefault(recommendation.item_id, recommendation)
    kept = list(recommendations.values())
    return _cut(kept if options.explain else [replace(r, contributions=()) for r in kept], options)


def _popular(generation: Generation, popularity: Popularity, now_ns: int) -> Iterator[Recommendation]:
    """Yield what can be recommended of what is popular; scores are shares of the first's count."""
    most = None
    for item_id, count in popularity.ranked():
        if generation.is_recommendable(item_id, now_ns):
            most = most or count
            share = count / most
            yield Recommendation(item_id, share, Strategy.POPULAR, [Contribution("", "", share, "prior")])


def _eligible(generation: Generation, query: Query, options: Options, now_ns: int) -> list[Candidate]:
    """Return at least `limit` candidates that may come back, or all there are."""
    # Few of the excluded are among the nearest: to fetch as many more would cost more than a second search at times.
    k = options.limit + min(len(query.excluded_item_ids), FIRST_OVERFETCH * options.limit)
    while True:
        k = min(k, len(generation))
        candidates = generation.search(query.vector, k, now_ns, exact=options.exact)
        kept = [candidate for candidate in candidates if candidate.item_id not in query.excluded_item_ids]
        if len(kept) >= options.limit or k == len(generation):
            return kept
        k *= 4  # few searches, and the last is exact over all items


def _cut(recommendations: list[Recommendation], options: Options) -> Ranking:
    """Leave out what scores too low, and say why the rest is short."""
    if options.min_score is not None:
        kept = [recommendation for recommendation in recommendations if recommendation.score >= options.min_score]
        if len(kept) < len(recommendations):
            return Ranking(kept, Shortfall.FILTER_TOO_NARROW)
    short = len(recommendations) < options.limit
    return Ranking(recommendations, Shortfall.CATALOG_EXHAUSTED if short else Shortfall.NONE)


def _explained(
    generation: Generation, query: Query, recommendations: Sequence[Recommendation], labels: Sequence[int]
) -> list[Recommendation]:
    """Add what each score is the sum of: coefficient * dot(e_i, v(c)) by event."""
    if not query.terms:
        return [replace(r, contributions=[Contribution("", "", r.score, "query")]) for r in recommendations]
    items = generation.index.vectors(labels).astype(np.float64)
    events = np.stack([term.vector for term in query.terms]).astype(np.float64)
    coefficients = np.array([term.coefficient for term in query.terms])
    values = (events @ items.T) * coefficients[:, np.newaxis]  # (events, items)
    return [
        replace(recommendation, contributions=_by_event(query.terms, values[:, column].tolist()))
        for column, recommendation in enumerate(recommendations)
    ]


def _by_event(terms: Sequence[Term], values: Sequence[float]) -> list[Contribution]:
    return [
        Contribution(term.event.event_id, term.event.item_id or "", value, "event")
        for term, value in zip(terms, values, strict=True)
    ]
