"""How much effort a rival needs for a recall."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.rivals.rival import Rival
from benchmarks.rivals.truth import K, Truth


@dataclass(frozen=True)
class Step:
    """What a value of the knob comes to. p50_ms: of one search at a time."""

    effort: int
    recall: float
    p50_ms: float


def sweep(rival: Rival, truth: Truth, enough: float) -> list[Step]:
    """Return what the efforts of a rival come to, ascending, up to the first with a recall that is enough."""
    steps: list[Step] = []
    for effort in rival.efforts:
        rival.set_effort(effort)
        steps.append(_measured(rival, truth, effort))
        if steps[-1].recall >= enough:
            break
    return steps


def least(steps: Sequence[Step], recall: float) -> Step:
    """Return the step of least effort that has the recall; where none has it, that which finds most."""
    return next((step for step in steps if step.recall >= recall), max(steps, key=lambda step: step.recall))


def _measured(rival: Rival, truth: Truth, effort: int) -> Step:
    rival.search(truth.queries[0].vector, truth.queries[0].seen, K)  # the first after a change may load something
    found, took_s = [], []
    for query in truth.queries:
        begin_s = time.perf_counter()
        found.append(rival.search(query.vector, query.seen, K))
        took_s.append(time.perf_counter() - begin_s)
    return Step(effort, round(truth.recall(found), 4), round(1e3 * float(np.median(took_s)), 4))
