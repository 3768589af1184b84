"""What searches the rows of an index without scoring them all, and how it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from recwire_server.index import code
from recwire_server.index.calibration import Calibration, calibrate
from recwire_server.index.code import Segment
from recwire_server.index.graph import Graph
from recwire_server.index.matrix import Matrix
from recwire_server.index.mixture import mixtures, sampled_rows
from recwire_server.index.projection import Projection
from recwire_server.vector import Vectors

SEED = 0  # of what is drawn to measure by, and of the graph's levels: the same rows make the same index


class SearchMethod(StrEnum):
    """How a large index may be searched."""

    AUTO = "auto"  # by whichever is measured to cost less
    SCAN = "scan"
    GRAPH = "graph"


@dataclass(frozen=True)
class BuildRules:
    """How a sealed part is made. graph_min_rows: below, no graph is built. thread_count: that build it."""

    recall_target: float = 0.95
    method: SearchMethod = SearchMethod.AUTO
    graph_min_rows: int = 30_000
    thread_count: int = 1


@dataclass(frozen=True)
class Sealed:
    """What searches the first rows without scoring them all.

    row_count: how many rows there were. graph: None if a scan of codes costs less, or none was asked for. reason: why
    the method is what it is, in words.
    """

    projection: Projection
    segments: tuple[Segment, ...]
    graph: Graph | None
    calibration: Calibration
    row_count: int
    reason: str

    @property
    def recalls(self) -> Mapping[str, float]:
        """The recall@10 that was measured, by kind of query."""
        return self.calibration.graph_recall if self.graph else self.calibration.scan_recall

    @property
    def recall(self) -> float:
        """The least of them."""
        return min(self.recalls.values())

    @property
    def search_s(self) -> float:
        """The CPU seconds of a search for ten."""
        calibration = self.calibration
        found_s = calibration.graph_s if self.graph else calibration.scan_s
        return found_s + calibration.width * calibration.row_s


def seal(matrix: Matrix, rules: BuildRules, user_queries: Vectors) -> Sealed:
    """Return what searches the rows of now. Slow; nobody may add or remove rows, or search, meanwhile.

    user_queries: (count, dim) vectors of users; mixtures of the catalogue's are made beside them.
    """
    chance = np.random.default_rng(SEED)
    sample = sampled_rows(matrix, chance)
    projection = Projection.of(sample)
    segments = code.segments_of(matrix, projection, 0, matrix.row_count)
    graph = None
    if rules.method is not SearchMethod.SCAN and len(matrix) >= rules.graph_min_rows:
        graph = Graph.build(matrix, projection, thread_count=rules.thread_count, seed=SEED)
    kinds = mixtures(sample, chance) | ({"users": user_queries} if len(user_queries) else {})
    calibration = calibrate(matrix, projection, segments, graph, kinds, rules.recall_target)
    chosen, reason = _chosen(graph, calibration, rules)
    return Sealed(projection, tuple(segments), chosen, calibration, matrix.row_count, reason)


def _chosen(graph: Graph | None, calibration: Calibration, rules: BuildRules) -> tuple[Graph | None, str]:
    """Return the graph, if it is to be searched, and why."""
    scan_ms, graph_ms = 1e3 * calibration.scan_s, 1e3 * calibration.graph_s
    if graph is None:
        if rules.method is SearchMethod.SCAN:
            return None, f"search_method is scan ({scan_ms:.3f} ms)"
        return None, f"below graph_min_items {rules.graph_min_rows:,} no graph is built (scan: {scan_ms:.3f} ms)"
    measured = f"graph {graph_ms:.3f} ms, scan {scan_ms:.3f} ms"
    if rules.method is SearchMethod.GRAPH:
        return graph, f"search_method is graph ({measured})"
    if min(calibration.graph_recall.values()) < rules.recall_target <= min(calibration.scan_recall.values()):
        return None, f"the graph misses the recall target ({measured})"
    if graph_ms < scan_ms:
        return graph, f"the graph costs less ({measured})"
    return None, f"the scan costs less ({measured})"
