"""The index finds what a plain scan finds, at the recall that is promised, and never what was removed."""

import numpy as np
import pytest
from sealed_index import DIM, METHODS, NO_USERS, RECALL_TARGET, ROWS, load, queries, rules

from recwire_server.index.adaptive import AdaptiveIndex, Method
from recwire_server.index.calibration import Calibration
from recwire_server.index.sealed import SearchMethod


@pytest.fixture(params=METHODS)
def index(request, saved_indexes) -> AdaptiveIndex:
    """An index of its own, searched by a scan of codes or by a graph."""
    return load(saved_indexes[request.param])


def nearest(rows: np.ndarray, query: np.ndarray, k: int, gone: set[int] = frozenset()) -> list[int]:
    """The oracle: score every row in float64, sort, ties by label."""
    scores = rows.astype(np.float64) @ query
    return [label for label in np.lexsort((np.arange(len(rows)), -scores)).tolist() if label not in gone][:k]


def test_the_method_that_was_asked_for_searches(saved_indexes):
    """A graph is there only if it is searched."""
    assert [load(saved_indexes[method]).method for method in METHODS] == [Method.SCAN, Method.GRAPH]


@pytest.mark.parametrize("kind", ["1 item", "20 items, 1 topic", "50 items, 5 topics", "200 items, 20 topics"])
@pytest.mark.parametrize("k", [10, 50])
def test_recall_reaches_its_target_on_users_of_every_kind(kind, k, index: AdaptiveIndex, rows: np.ndarray):
    """Of the true nearest of held-out mixtures, the promised share is found."""
    found = [set(index.search(query, k).labels[:k].tolist()) for query in queries(rows, kind)]
    truth = [set(nearest(rows, query, k)) for query in queries(rows, kind)]
    assert np.mean([len(a & b) / k for a, b in zip(found, truth, strict=True)]) >= RECALL_TARGET


def test_an_exact_search_is_the_plain_scan(index: AdaptiveIndex, rows: np.ndarray):
    """Labels and scores are those of a sort in float64."""
    for query in queries(rows, "50 items, 5 topics")[:20]:
        matches = index.search(query, 25, exact=True)
        assert matches.labels.tolist() == nearest(rows, query, 25)
        np.testing.assert_allclose(matches.scores, rows[matches.labels].astype(np.float64) @ query, atol=1e-12)


def test_scores_are_exact(index: AdaptiveIndex, rows: np.ndarray):
    """What is found is scored again: the same row has the same score to the last bit, however it was found."""
    for query in queries(rows, "50 items, 5 topics")[:20]:
        exact = index.search(query, 200, exact=True)
        known = dict(zip(exact.labels.tolist(), exact.scores.tolist(), strict=True))
        found = index.search(query, 10)
        among = index.search_among(np.arange(0, ROWS, 2), query, 10)
        for matches in (found, among):
            scores = zip(matches.labels.tolist(), matches.scores.tolist(), strict=True)
            assert all(known.get(label, score) == score for label, score in scores)


def test_a_search_among_rows_finds_the_best_of_them(index: AdaptiveIndex, rows: np.ndarray):
    """With what is added to each score, as in a plain sort; among few rows as among many, and among new ones."""
    random = np.random.default_rng(3)
    index.add(rows[:50] + 0.1)
    every = np.concatenate([rows, rows[:50] + 0.1])
    extra = random.normal(size=len(every)) * 0.1
    index.remove(list(range(7)))
    for count in (5, 500, len(every) - 7):
        labels = np.sort(random.choice(np.arange(7, len(every)), count, replace=False))
        recalls = []
        for query in queries(rows, "20 items, 20 topics")[:40]:
            scores = every[labels].astype(np.float64) @ query + extra[labels]
            truth = labels[np.argsort(-scores, kind="stable")[:10]]
            found = index.search_among(labels, query, 10, extra).labels[:10]
            assert index.best_of(labels, query, 10, extra).labels[:10].tolist() == truth.tolist()
            recalls.append(len(set(truth.tolist()) & set(found.tolist())) / len(truth))
        assert np.mean(recalls) >= RECALL_TARGET


def test_rows_that_came_later_are_found(index: AdaptiveIndex, rows: np.ndarray):
    """A new row is in the very next search, and still when it has got codes."""
    query = queries(rows, "50 items, 5 topics")[0]
    mine = (query / np.linalg.norm(query))[np.newaxis].astype(np.float32)
    for _ in range(3):
        (label,) = index.add(mine).tolist()
        assert label in index.search(query, 10).labels
        index.add(rows[:300])
        index.adopt_segments(index.code_tail())
        assert index.scored_count == 0
        assert label in index.search(query, 10).labels


def test_rows_unlike_all_others_are_found(index: AdaptiveIndex, rows: np.ndarray):
    """What the short vectors cannot show is scored: an item of a new kind is in the next search, with or without codes,
    and among those that pass a filter."""
    strange = np.linalg.svd(rows, full_matrices=True)[2][-3:]  # at right angles to what the others have in common
    labels = index.add(strange).tolist()
    for _ in range(2):
        for label, vector in zip(labels, strange.astype(np.float64), strict=True):
            assert index.search(vector, 10).labels[0] == label
            assert index.search_among(index.live_labels(), vector, 10).labels[0] == label
        index.adopt_segments(index.code_tail())
    assert index.foreign_count == 3
    index.remove(labels[:1])
    assert labels[0] not in index.search(strange[0].astype(np.float64), 10).labels


def test_segments_stay_few(index: AdaptiveIndex, rows: np.ndarray):
    """However often a tail gets codes: small segments are taken together with it, the sealed ones are not."""
    counts = []
    for _ in range(40):
        index.add(rows[:20])
        segments = index.code_tail()
        index.adopt_segments(segments)
        assert segments[-1].end == index.row_count
        assert segments[0].first >= ROWS
        counts.append(index.segment_count)
    assert max(counts) <= 1 + 7


def test_removed_rows_are_never_found(index: AdaptiveIndex, rows: np.ndarray):
    """Neither among the sealed, nor among those with later codes, nor among those without any."""
    query = queries(rows, "1 item")[0]
    coded = index.add(np.repeat(rows[:1], 3, axis=0)).tolist()
    index.adopt_segments(index.code_tail())
    added = index.add(np.repeat(rows[:1], 3, axis=0)).tolist()
    gone = {*nearest(rows, query, 50), coded[1], added[1]}
    index.remove(list(gone))
    for exact in (False, True):
        assert not gone & set(index.search(query, 100, exact=exact).labels.tolist())
    assert len(index) == ROWS + 6 - len(gone)


def test_rows_removed_before_it_is_adopted_are_not_found(rows: np.ndarray):
    """A graph is made of what there was; what has gone since is kept out of it."""
    for method in METHODS:
        index = AdaptiveIndex(DIM)
        index.add(rows[:2_000])
        index.remove([1])
        sealed = index.sealed_anew(rules(method), NO_USERS)
        gone = nearest(rows[:2_000], rows[0].astype(np.float64), 5, {1})
        index.remove(gone)
        index.adopt(sealed)
        assert not {1, *gone} & set(index.search(rows[0].astype(np.float64), 50).labels.tolist())


def test_removing_twice_counts_once(index: AdaptiveIndex):
    """The number of rows stays right."""
    index.remove([5, 5])
    index.remove([5])
    assert len(index) == ROWS - 1


def test_more_than_there_is_can_be_asked_for(index: AdaptiveIndex, rows: np.ndarray):
    """All that is left comes back."""
    index.remove(list(range(1_000, ROWS)))
    query = rows[0].astype(np.float64)
    assert sorted(index.search(query, 5_000).labels.tolist()) == list(range(1_000))


def test_small_and_empty_indexes_answer():
    """Fewer rows than asked for come back, none from an empty index or one whose rows are all removed."""
    index, query = AdaptiveIndex(3), np.array([1.0, 0.0, 0.0])
    assert index.search(query, 5).labels.tolist() == []
    labels = index.add(np.eye(3, dtype=np.float32))
    assert index.search(query, 5).labels.tolist() == [0, 1, 2]
    index.remove(labels.tolist())
    assert index.search(query, 5).labels.tolist() == []
    assert index.search(query, 0).labels.tolist() == []


def test_rows_that_tie_with_the_last_all_come_back():
    """Which of equal rows is recommended is not the index's to decide."""
    index = AdaptiveIndex(2)
    index.add(np.array([[1, 0], [0.5, 0], [0.5, 0], [0.5, 0], [0, 1]], np.float32))
    assert index.search(np.array([1.0, 0.0]), 2).labels.tolist() == [0, 1, 2, 3]


def calibrated(rows: np.ndarray, method: SearchMethod, user_queries: np.ndarray = NO_USERS) -> Calibration:
    index = AdaptiveIndex(DIM)
    index.add(rows)
    return index.sealed_anew(rules(method), user_queries).calibration


@pytest.mark.parametrize("method", METHODS)
def test_items_that_tie_are_as_good_as_each_other(method, rows):
    """Of many items with one vector any ten are the nearest ten: that costs neither recall nor width."""
    calibration = calibrated(np.repeat(rows[:300], 8, axis=0), method)
    recall = calibration.graph_recall if calibration.graph_recall else calibration.scan_recall
    assert min(recall.values()) >= RECALL_TARGET
    assert calibration.max_ef_search <= 128


def test_users_count_in_the_calibration(rows):
    """The vectors of users who are there are a kind of query of their own; they may need a wider search."""
    isotropic = np.random.default_rng(5).normal(size=(80, DIM)).astype(np.float32)
    without, with_users = (calibrated(rows, SearchMethod.GRAPH, users) for users in (NO_USERS, isotropic))
    assert set(with_users.graph_recall) - set(without.graph_recall) == {"users"}
    assert with_users.graph_recall["users"] >= RECALL_TARGET
    assert with_users.max_ef_search >= without.max_ef_search


def test_short_queries_are_searched_wider(rows):
    """Those between topics are shorter, and need it; the ef of a query follows its length."""
    calibration = calibrated(rows, SearchMethod.GRAPH)
    assert calibration.ef_search(0.01) == calibration.max_ef_search >= calibration.ef_search(1.0)
