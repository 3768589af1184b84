"""recall: what searches find, for users of every kind, what they cost, and what the index takes of memory.

At 10,000, 100,000 and 1,000,000 items (`catalogue_vectors` says of what). Held-out queries: 150 of each kind of
mixture, and users of real data, none of whom the index was calibrated with. Contenders, which all score what they find
exactly: `scan` (codes of short vectors), `graph` (HNSW of short vectors), `graph, full` (HNSW of the whole vectors, as
hnswlib is used alone, at the same recall), `clusters` (one walk of the graph for each cluster of a history, merged:
for mixtures of 5 and 20 topics), and `exact`. CPU milliseconds are of a search for ten, one at a time.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import hnswlib
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.catalogue_vectors import SEED, make
from benchmarks.served import SHARED_DATA, default_encoder
from recwire_server.encoder import Encoder
from recwire_server.index import Labels
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.calibration import EF_LADDER
from recwire_server.index.graph import EF_CONSTRUCTION, M
from recwire_server.index.sealed import BuildRules, SearchMethod
from recwire_server.memory import resident_bytes
from recwire_server.vector import Vector, Vectors

SIZES = (10_000, 100_000, 1_000_000)
ENCODED = 20_000  # texts; more items are these with jitter
FULL_MAX_ITEMS = 100_000  # up to which the whole vectors get a graph beside: at 1,000,000 it takes an hour
RECALL_TARGET = 0.95
THREADS = 2
QUERY_SEED = 5
K = 10
PIECE_ROWS = 16_384
LEAST_SHOWN = 0.0005  # of what is missed, on a logarithmic axis

Queries = NDArray[np.float64]
Find = Callable[[Queries], Labels]
"""Returns the labels of the ten nearest to a query (dim,)."""


class Found(TypedDict):
    """One contender on one kind of query."""

    recall: float
    cpu_ms: float


class Measured(TypedDict):
    """One size. contenders: by name, by kind of query."""

    made_of: str
    chosen: str
    reason: str
    short_dim: int
    width: int
    max_ef_search: int
    build_cpu_s: float
    index_bytes: int
    mapped_bytes: int
    resident_growth_bytes: int
    contenders: dict[str, dict[str, Found]]


class Result(TypedDict):
    """What is kept, ready for JSON."""

    recall_target: float
    seed: int
    sizes: dict[str, Measured]


def run(quick: bool) -> Result:
    """Return the result. quick: 10,000 items only."""
    encoder = default_encoder()
    sizes = SIZES[:1] if quick else SIZES
    return {
        "recall_target": RECALL_TARGET,
        "seed": SEED,
        "sizes": {str(count): measure_size(count, encoder) for count in sizes},
    }


def table(result: Result) -> Table:
    """Return the figures for people."""
    shown = Table("items", "contender", "least recall", "of", "mean CPU ms", title="recall@10 of held-out users")
    for size, measured in result["sizes"].items():
        for name, kinds in measured["contenders"].items():
            worst = min(kinds, key=lambda kind: kinds[kind]["recall"])
            mean_ms = float(np.mean([found["cpu_ms"] for found in kinds.values()]))
            served = " (serves)" if name == measured["chosen"] else ""
            shown.add_row(size, name + served, f"{kinds[worst]['recall']:.4f}", worst, f"{mean_ms:.3f}")
    return shown


def plot(result: Result) -> Any:
    """Return a figure of what contenders miss, and what that takes, with a point for each kind of users."""
    from matplotlib.figure import Figure

    sizes = result["sizes"]
    figure = Figure(figsize=(4 * len(sizes), 4), layout="constrained")
    for axes, (size, measured) in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes.items(), strict=True):
        for name, kinds in measured["contenders"].items():
            missed = [max(LEAST_SHOWN, 1 - found["recall"]) for found in kinds.values()]
            axes.plot([found["cpu_ms"] for found in kinds.values()], missed, "o", alpha=0.7, label=name)
        axes.axhline(1 - result["recall_target"], color="gray", linestyle="--")
        axes.set(title=f"{int(size):,} items", xlabel="CPU ms a search", xscale="log", yscale="log")
        axes.set(ylabel=f"missed of the true ten; {LEAST_SHOWN}: none", ylim=(LEAST_SHOWN / 1.5, 1))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def measure_size(count: int, encoder: Encoder) -> Measured:
    """Return what is measured of a catalogue of so many items."""
    catalogue = make(count, min(count, ENCODED), encoder, SHARED_DATA)
    queries = catalogue.held_out(QUERY_SEED)
    with TemporaryDirectory(prefix="recwire-recall-") as folder:
        before_bytes = resident_bytes()
        index = _filled(catalogue.rows, Path(folder) / "rows")
        truth = Truth(index, queries)
        begin_s = time.process_time()
        served = index.sealed_anew(_rules(SearchMethod.AUTO), catalogue.known_users)
        build_s = time.process_time() - begin_s
        index.adopt(served)
        chosen, index_bytes, grown_bytes = index.method.value, index.memory_bytes, resident_bytes() - before_bytes
        contenders = {"exact": truth.measured(lambda query: index.search(query, K, exact=True).labels[:K], 20)}
        for method in (SearchMethod.SCAN, SearchMethod.GRAPH):
            is_chosen = method.value == chosen
            index.adopt(served if is_chosen else index.sealed_anew(_rules(method), catalogue.known_users))
            contenders[method.value] = truth.measured(lambda query: index.search(query, K).labels[:K])
        contenders["clusters"] = _clusters(index, catalogue.rows)
        if count <= FULL_MAX_ITEMS:
            contenders["graph, full"] = _full_graph(truth, index, catalogue.rows)
    calibration = served.calibration
    return {
        "made_of": catalogue.made_of,
        "chosen": chosen,
        "reason": served.reason,
        "short_dim": served.projection.short_dim,
        "width": calibration.width,
        "max_ef_search": calibration.max_ef_search,
        "build_cpu_s": round(build_s, 1),
        "index_bytes": index_bytes,
        "mapped_bytes": index.mapped_bytes,
        "resident_growth_bytes": grown_bytes,
        "contenders": contenders,
    }


class Truth:
    """Queries by kind, and what their true neighbours score."""

    def __init__(self, index: AdaptiveIndex, queries: Mapping[str, Vectors]) -> None:
        self._index = index
        self._queries = queries
        self._least = {name: index.least_of_nearest(some, index.row_count) for name, some in queries.items()}

    def measured(self, find: Find, most: int | None = None) -> dict[str, Found]:
        """Return what a contender finds, of at most so many queries a kind."""
        return {
            name: self._measured(find, some[:most].astype(np.float64), self._least[name][:most])
            for name, some in self._queries.items()
        }

    def _measured(self, find: Find, queries: Queries, least: Vector) -> Found:
        begin_s = time.process_time()
        found = [find(query) for query in queries]
        cpu_ms = 1e3 * (time.process_time() - begin_s) / len(queries)
        share = self._index.share_found
        recalls = [share(labels, query, one) for labels, query, one in zip(found, queries, least, strict=True)]
        return {"recall": round(float(np.mean(recalls)), 4), "cpu_ms": round(cpu_ms, 4)}


def _rules(method: SearchMethod) -> BuildRules:
    return BuildRules(RECALL_TARGET, method, graph_min_rows=0, thread_count=THREADS)


def _filled(rows: Vectors, path: Path) -> AdaptiveIndex:
    """Return an index whose rows are in a file, as those that serve are."""
    index = AdaptiveIndex(rows.shape[1])
    for first in range(0, len(rows), PIECE_ROWS):
        index.add(rows[first : first + PIECE_ROWS])
        index.spill(path)
    return index


def _full_graph(truth: Truth, index: AdaptiveIndex, rows: Vectors) -> dict[str, Found]:
    """Return what hnswlib alone finds, on whole vectors, with the least ef that has the recall for each kind."""
    hnsw = hnswlib.Index(space="ip", dim=rows.shape[1])
    hnsw.init_index(max_elements=len(rows), M=M, ef_construction=EF_CONSTRUCTION, random_seed=SEED)
    hnsw.add_items(rows, num_threads=THREADS)

    def find(query: Queries) -> Labels:
        labels: Labels = hnsw.knn_query(query.astype(np.float32), 2 * K, num_threads=1)[0][0].astype(np.int64)
        return index.best_of(labels, query, K).labels[:K]

    best: dict[str, Found] = {}
    for ef_search in EF_LADDER:
        hnsw.set_ef(ef_search)
        for kind, found in truth.measured(find).items():
            if kind not in best or best[kind]["recall"] < RECALL_TARGET:
                best[kind] = found
    return best


def _clusters(index: AdaptiveIndex, rows: Vectors) -> dict[str, Found]:
    """Return what walks for each topic of a history find together, the topics being known, which is the best case."""
    chance = np.random.default_rng(QUERY_SEED)
    sample = rows[:20_000]
    kinds: dict[str, Found] = {}
    for topics in (5, 20):
        histories = []
        for _ in range(40):
            near = [np.argsort(sample @ sample[centre])[-100:] for centre in chance.integers(len(sample), size=topics)]
            histories.append(np.stack([sample[chance.choice(one, 10)].mean(axis=0) for one in near]).astype(np.float64))
        wholes = {f"{topics} topics": np.stack([parts.mean(axis=0) for parts in histories]).astype(np.float32)}
        parts_of = {whole.tobytes(): parts for whole, parts in zip(wholes[f"{topics} topics"], histories, strict=True)}

        def find(query: Queries, parts_of: Mapping[bytes, Queries] = parts_of) -> Labels:
            parts = parts_of[query.astype(np.float32).tobytes()]
            found = np.unique(np.concatenate([index.search(part, K).labels for part in parts]))
            return index.best_of(found, query, K).labels[:K]

        kinds |= Truth(index, wholes).measured(find)
    return kinds
