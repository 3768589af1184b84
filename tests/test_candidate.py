"""What is searched and how makes no difference to what is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from recwire_server.candidate import Candidate, Eligibility, find, find_by_groups, find_without_query
from recwire_server.generation import Generation
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.sealed import BuildRules, SearchMethod
from recwire_server.item_number import ItemNumbers
from recwire_server.store import ItemVector
from recwire_server.vector_space import VectorSpace

DIM = 8
NOW_NS = 1_000


def generation_of(vectors: np.ndarray, new_times_ns: list[int] | None = None) -> Generation:
    """A generation of items named by their row, the last first by id, so that ids and labels disagree."""
    generation = Generation(1, VectorSpace(), 0, AdaptiveIndex(DIM), ItemNumbers())
    times = new_times_ns or [0] * len(vectors)
    generation.put(
        [
            ItemVector(f"i{len(vectors) - row:05}", vector, 1, False, None, None, times[row], {})
            for row, vector in enumerate(vectors.astype(np.float32))
        ]
    )
    return generation


def seal(generation: Generation, method: SearchMethod) -> None:
    """Have the generation's index searched by a method."""
    index = generation.index
    index.adopt(index.sealed_anew(BuildRules(method=method, graph_min_rows=0), np.zeros((0, DIM), np.float32)))


def plain(
    generation: Generation, query: np.ndarray, extra: np.ndarray, k: int, labels: list[int]
) -> list[tuple[float, str]]:
    """The k best, one item at a time."""
    rows = generation.index.vectors(list(range(len(generation)))).astype(np.float64)
    scored = [(float(rows[label] @ query + extra[label]), id_of(generation, label)) for label in labels]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]


def id_of(generation: Generation, label: int) -> str:
    (item_id,) = generation.item_ids(np.array([label]))
    return item_id


def scores_of(candidates: list[Candidate]) -> list[float]:
    return [one.score for one in candidates]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), k=st.integers(1, 70), rules=st.integers(0, 3))
def test_groups_of_equal_boosts_hold_the_best(seed, count, k, rules):
    """Searched group by group, boosted items are those of a scan of all."""
    chance = np.random.default_rng(seed)
    generation = generation_of(chance.normal(size=(count, DIM)))
    query = chance.normal(size=DIM)
    matches = chance.random((rules, count)) < 0.4
    extra = chance.normal(size=rules) @ matches if rules else np.zeros(count)
    groups = [
        BitMap(np.flatnonzero((pattern == matches.T).all(axis=1)).tolist()) for pattern in np.unique(matches.T, axis=0)
    ]
    eligibility = Eligibility(None, {id_of(generation, 0)}, NOW_NS)
    found = find_by_groups(generation, query, k, eligibility, extra, [group for group in groups if group])
    expected = plain(generation, query, extra, k, list(range(1, count)))
    assert scores_of(found) == pytest.approx([score for score, _ in expected], abs=1e-9)
    scanned = find(generation, query, k, eligibility, extra, exact=True)
    assert [one.item_id for one in found] == [one.item_id for one in scanned]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40
    ),
    k=st.integers(1, 45),
)
def test_without_a_query_the_popular_come_before_the_new(rows, k):
    """By score; of equals the popular by item id, then the others, the newest first, then by item id."""
    generation = generation_of(np.ones((len(rows), DIM)), [new for _, _, new in rows])
    scores = np.array([score for score, _, _ in rows])
    is_popular = np.array([popular for _, popular, _ in rows])
    found = find_without_query(generation, scores, is_popular, k, Eligibility(None, frozenset(), NOW_NS))

    def key(label: int) -> tuple[float, bool, int, str]:
        score, popular, new = rows[label]
        return -score, not popular, 0 if popular else -new, id_of(generation, label)

    assert [one.label for one in found] == sorted(range(len(rows)), key=key)[:k]


@pytest.mark.parametrize("method", [SearchMethod.SCAN, SearchMethod.GRAPH])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_a_filter_is_met_whatever_is_searched(method, share):
    """As many as are wanted come back, all of them pass, and nearly all are the best that pass."""
    chance = np.random.default_rng(3)
    generation = generation_of(chance.normal(size=(4_000, DIM)))
    seal(generation, method)
    passing = BitMap(np.flatnonzero(chance.random(4_000) < share).tolist())
    hits = 0
    for _ in range(50):
        query = chance.normal(size=DIM)
        found = find(generation, query, 10, Eligibility(passing, frozenset(), NOW_NS), None, exact=False)
        best = find(generation, query, 10, Eligibility(passing, frozenset(), NOW_NS), None, exact=True)
        assert len(found) == 10
        assert all(one.label in passing for one in found)
        hits += len({one.label for one in found} & {one.label for one in best})
    assert hits >= 0.9 * 500


@pytest.mark.parametrize("method", [SearchMethod.SCAN, SearchMethod.GRAPH])
@pytest.mark.parametrize("weight", [0.01, 0.3, 3.0])
def test_what_is_added_to_a_score_is_searched_for(method, weight):
    """With a few popular items and many that are not, nearly all are found that a scan of the sums finds."""
    chance = np.random.default_rng(4)
    generation = generation_of(chance.normal(size=(4_000, DIM)))
    seal(generation, method)
    extra = weight * chance.pareto(2.0, size=4_000)
    hits = 0
    for _ in range(50):
        query = chance.normal(size=DIM)
        eligibility = Eligibility(None, {f"i{n:05}" for n in chance.integers(1, 4_000, size=40)}, NOW_NS)
        found = find(generation, query, 10, eligibility, extra, exact=False)
        best = find(generation, query, 10, eligibility, extra, exact=True)
        assert not {one.item_id for one in found} & eligibility.excluded_item_ids
        hits += len({one.label for one in found} & {one.label for one in best})
    assert hits >= 0.95 * 500
