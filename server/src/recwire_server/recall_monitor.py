"""Recall of the searches that users really make, checked in the background."""

import asyncio
import logging
import time
from collections import deque

import numpy as np

from recwire_server.generation import Generation
from recwire_server.index.adaptive import AdaptiveIndex, Method
from recwire_server.index.calibration import K
from recwire_server.task import TaskKeeper
from recwire_server.vector import Query

logger = logging.getLogger(__name__)

CPU_SHARE = 0.01
WINDOW = 400  # searches that the published recall is the mean of: known to about .005
# A recall below its target is believed once it is by so many standard errors; then searches get wider.
MIN_SAMPLES = 100
STANDARD_ERRORS = 2.0


class RecallMonitor:
    """Repeats some of the searches, with every row scored on another thread, and compares. Belongs to the event loop.

    Its figures are of the serving generation. Where they stay below the target, the index is searched wider.

    cpu_share: of one core, what it may take in the long run.
    """

    def __init__(self, tasks: TaskKeeper, recall_target: float, cpu_share: float = CPU_SHARE) -> None:
        self._cpu_share = cpu_share
        self._tasks = tasks
        self._recall_target = recall_target
        self._recalls: deque[float] = deque(maxlen=WINDOW)
        self._generation_number = 0
        self._checking = False
        self._next_s = 0.0  # of time.monotonic

    @property
    def sample_count(self) -> int:
        """How many searches the recall is the mean of."""
        return len(self._recalls)

    @property
    def recall(self) -> float:
        """The share of the true ten nearest that was found, 0-1; 0 before the first search was checked."""
        return float(np.mean(self._recalls)) if self._recalls else 0.0

    def searched(self, generation: Generation, query: Query) -> None:
        """Tell of a search, by a query (dim,); some are checked."""
        if generation.number != self._generation_number:
            self._generation_number = generation.number
            self._recalls.clear()
        if self._checking or time.monotonic() < self._next_s or generation.index.method is Method.EXACT:
            return
        self._checking = True
        self._tasks.spawn(self._check(generation, query))

    async def _check(self, generation: Generation, query: Query) -> None:
        index = generation.index
        begin_s = time.thread_time()
        found, row_count = index.search(query, K).labels[:K], index.row_count
        cpu_s = time.thread_time() - begin_s
        try:
            recall, exact_s = await asyncio.to_thread(_recall, index, query, found, row_count)
        finally:
            self._checking = False
        self._next_s = time.monotonic() + (cpu_s + exact_s) / self._cpu_share
        if generation.number == self._generation_number:
            self._recalls.append(recall)
            self._widen_if_due(index)

    def _widen_if_due(self, index: AdaptiveIndex) -> None:
        if len(self._recalls) < MIN_SAMPLES:
            return
        error = float(np.std(self._recalls)) / len(self._recalls) ** 0.5
        if self.recall + STANDARD_ERRORS * error < self._recall_target and index.widen():
            logger.warning("live recall %.3f is below its target %.3f: searches get wider", *self._figures())
            self._recalls.clear()

    def _figures(self) -> tuple[float, float]:
        return self.recall, self._recall_target


def _recall(index: AdaptiveIndex, query: Query, found: np.ndarray, row_count: int) -> tuple[float, float]:
    """Return the share of the true nearest among the first rows that was found, and the CPU seconds that this took."""
    begin_s = time.thread_time()
    recall = index.recall_of(found, query, row_count)
    return recall, time.thread_time() - begin_s
