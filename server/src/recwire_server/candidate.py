"""Which items may come back, and the best of them: what to search, and how.

A search of the index knows nothing of filters: it is asked for more than is wanted, and what does not pass is dropped.
Where few items pass, that costs more than to score those few, or to scan the codes of all with those that do not pass
kept out. Which of the three it is, is decided by what each was measured to cost.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from recwire_server.generation import Generation
from recwire_server.index import Labels, Matches, Near, Scores
from recwire_server.vector import Query

# Of the items that are excluded by id, so many times the limit may be among the nearest before a second search pays.
EXCLUDED_OVERFETCH = 3
# A search is asked for this many times what would do if those that pass were spread evenly.
FILTER_OVERFETCH = 1.5
# CPU seconds that it takes to tell which items may come back, for each of the catalogue, and for each excluded one.
ITEM_MASK_S, EXCLUDED_MASK_S = 1e-8, 4e-7
# Where more counts than the inner product, so many times the limit are fetched by each at first.
THRESHOLD_WIDTH = 10


@dataclass(frozen=True)
class Eligibility:
    """Which items may come back.

    passing: labels of the catalogue's items that pass the filter; None: all do. excluded_item_ids: those that may not.
    now_ns: the time that publish and expire times are compared with.
    """

    passing: BitMap | None
    excluded_item_ids: AbstractSet[str]
    now_ns: int

    def labels(self, generation: Generation) -> Labels:
        """Return the labels of all items that may come back, ascending."""
        labels = generation.index.live_labels() if self.passing is None else _array(self.passing)
        labels = generation.published(labels, self.now_ns)
        if self.excluded_item_ids:
            may_come = np.ones(generation.index.row_count, np.bool_)
            may_come[generation.labels(self.excluded_item_ids)] = False
            labels = labels[may_come[labels]]
        return labels


class Candidate(NamedTuple):
    """An item that may come back: its label in the generation, and its score."""

    label: int
    item_id: str
    score: float


def find(
    generation: Generation, query: Query, k: int, eligibility: Eligibility, extra: Scores | None, *, exact: bool
) -> list[Candidate]:
    """Return the k best of the items that may come back, best first, ties by item id; fewer if there are fewer.

    extra: what is added to the inner products, by label. exact: all is scanned.
    """
    matches: Matches | None = None
    if not exact:
        if extra is None:
            matches = _by_search(generation, query, k, eligibility)
        else:
            matches = _by_threshold(generation, query, k, eligibility, extra)
    if matches is None:
        labels = eligibility.labels(generation)
        index = generation.index
        all_cost_less = index.best_of_cost_s(len(labels)) <= index.among_cost_s()
        search = index.best_of if exact or all_cost_less else index.search_among
        matches = search(labels, query, k, extra)
    return ranked(generation, matches)[:k]


def find_by_groups(
    generation: Generation,
    query: Query,
    k: int,
    eligibility: Eligibility,
    extra: Scores,
    groups: Sequence[BitMap],
) -> list[Candidate]:
    """Return what `find` returns, where extra is the same for all items of a group, and the groups hold all that pass.

    Each group's best by the inner product are its best, so that each can be searched for itself.
    """
    if len(groups) * generation.index.search_cost_s(k) >= _cost_of_those_that_pass_s(generation, eligibility):
        return find(generation, query, k, eligibility, extra, exact=False)
    found = [
        one.label
        for group in groups
        for one in find(generation, query, k, replace(eligibility, passing=group), None, exact=False)
    ]
    matches = generation.index.best_of(np.array(found, np.int64), query, k, extra)
    return ranked(generation, matches)[:k]


def find_without_query(
    generation: Generation, scores: Scores, is_popular: NDArray[np.bool_], k: int, eligibility: Eligibility
) -> list[Candidate]:
    """Return the k best by their scores alone, of equals first the popular by item id, then the others, newest first.

    scores, is_popular: (row count or more,), by label.
    """
    labels = eligibility.labels(generation)
    values = scores[labels]
    newness = np.where(is_popular[labels], np.iinfo(np.int64).max, generation.new_times_ns(labels))
    if len(labels) > k:
        best = _best_with_ties(values, k)
        tied = best[values[best] == values[best].min()]
        newest = tied[_best_with_ties(newness[tied], k - (len(best) - len(tied)))]
        best = np.concatenate([best[values[best] > values[best].min()], newest])
        labels, values, newness = labels[best], values[best], newness[best]
    rows = zip(labels.tolist(), generation.item_ids(labels), values.tolist(), newness.tolist(), strict=True)
    keyed = [(-score, -new, item_id, label) for label, item_id, score, new in rows]
    return [Candidate(label, item_id, -minus) for minus, _, item_id, label in sorted(keyed)[:k]]


def _best_with_ties(values: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the places of the k greatest, and of what equals the last."""
    if len(values) <= k:
        return np.arange(len(values))
    return np.flatnonzero(values >= np.partition(values, len(values) - k)[len(values) - k])


def ranked(generation: Generation, matches: Matches) -> list[Candidate]:
    """Return matches as candidates, ties by item id."""
    found = zip(matches.labels.tolist(), generation.item_ids(matches.labels), matches.scores.tolist(), strict=True)
    return sorted(map(Candidate._make, found), key=lambda candidate: (-candidate.score, candidate.item_id))


def _cost_of_those_that_pass_s(generation: Generation, eligibility: Eligibility) -> float:
    """Return the CPU seconds that it takes to search only those that may come back."""
    count = len(generation) if eligibility.passing is None else len(eligibility.passing)
    mask_s = ITEM_MASK_S * len(generation) + EXCLUDED_MASK_S * len(eligibility.excluded_item_ids)
    return mask_s + min(generation.index.best_of_cost_s(count), generation.index.among_cost_s())


def _by_search(generation: Generation, query: Query, k: int, eligibility: Eligibility) -> Matches | None:
    """Return the k best by a search of all, or None if to search only those that may come back costs less."""
    item_count = len(generation)
    passing_count = item_count if eligibility.passing is None else len(eligibility.passing)
    most_s = _cost_of_those_that_pass_s(generation, eligibility)
    share = passing_count / max(item_count, 1)
    overfetch = 1.0 if passing_count == item_count else FILTER_OVERFETCH
    excluded_count = min(share * len(eligibility.excluded_item_ids), EXCLUDED_OVERFETCH * k)
    wanted = overfetch * k + excluded_count
    while share:
        width = ceil(wanted / share)
        if width > item_count or generation.index.search_cost_s(width) > most_s:
            break
        near = generation.index.near(query, width)
        eligible = Near(*(_eligible(generation, labels, eligibility) for labels in (near.placed, near.unplaced)))
        if len(eligible) * width >= k * len(near):  # there are more of them than asked for: so many are in their share
            return generation.index.best_near(eligible, query, k)
        wanted *= 4  # few searches, before the others
    return None


def _by_threshold(
    generation: Generation, query: Query, k: int, eligibility: Eligibility, extra: Scores
) -> Matches | None:
    """Return the k best of the sums, or None if to search only those that may come back costs less.

    An item that is neither among the nearest nor among those with the most extra has less than the last of both
    together: once the k-th best of the two sets has more than that, it is not missed (Fagin's threshold algorithm).
    """
    labels = eligibility.labels(generation)
    most_s = _cost_of_those_that_pass_s(generation, eligibility)
    width = THRESHOLD_WIDTH * k
    while width <= len(labels) and generation.index.search_cost_s(width) <= most_s:
        near = generation.index.search(query, width)
        most = labels[np.argpartition(extra[labels], -width)[-width:]]
        either = np.union1d(_eligible(generation, near.labels, eligibility), most)
        matches = generation.index.best_of(either, query, k, extra)
        if matches.scores[k - 1] >= near.scores[-1] + extra[most].min():
            return matches
        width *= 4
    return None


def _eligible(generation: Generation, labels: Labels, eligibility: Eligibility) -> Labels:
    """Return those of the labels that may come back, in their order."""
    labels = generation.published(labels, eligibility.now_ns)
    if eligibility.passing is not None:
        passing = eligibility.passing
        labels = labels[[label in passing for label in labels.tolist()]]
    if eligibility.excluded_item_ids and len(labels):
        excluded = eligibility.excluded_item_ids
        labels = labels[[item_id not in excluded for item_id in generation.item_ids(labels)]]
    return labels


def _array(labels: BitMap) -> Labels:
    return np.array(labels.to_array(), np.int64)
