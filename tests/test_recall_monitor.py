"""Live recall: searches that users make are checked in the background, and get wider where they find too little."""

import asyncio

import numpy as np

from recwire_server.generation import Generation
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.sealed import BuildRules, SearchMethod
from recwire_server.item_number import ItemNumbers
from recwire_server.recall_monitor import MIN_SAMPLES, RecallMonitor
from recwire_server.store import ItemVector
from recwire_server.task import TaskKeeper
from recwire_server.vector_space import VectorSpace

DIM = 32
ROWS = 3_000


def generation_of(number: int, method: SearchMethod | None) -> Generation:
    """A generation of items around a few centres, searched by a method; None: every item is scored."""
    chance = np.random.default_rng(number)
    vectors = chance.normal(size=(20, DIM))[chance.integers(20, size=ROWS)] + 0.5 * chance.normal(size=(ROWS, DIM))
    index = AdaptiveIndex(DIM)
    generation = Generation(number, VectorSpace(), 0, index, ItemNumbers())
    items = [ItemVector(f"i{n}", v, 1, False, None, None, 0, {}) for n, v in enumerate(vectors.astype(np.float32))]
    generation.put(items)
    if method is not None:
        rules = BuildRules(method=method, graph_min_rows=0)
        index.adopt(index.sealed_anew(rules, np.zeros((0, DIM), np.float32)))
    return generation


async def checked(monitor: RecallMonitor, tasks: TaskKeeper, generation: Generation, count: int) -> None:
    """Have so many searches by isotropic queries told of, each after the check of the one before."""
    chance = np.random.default_rng(9)
    for _ in range(count):
        monitor.searched(generation, chance.normal(size=DIM))
        await tasks.drain()


def unhurried(recall_target: float) -> tuple[RecallMonitor, TaskKeeper]:
    """A monitor that may take all the time it wants, and what its checks run in."""
    tasks = TaskKeeper()
    return RecallMonitor(tasks, recall_target, cpu_share=float("inf")), tasks


async def test_a_search_is_compared_with_an_exact_one():
    """The published recall is that of the searches, as a plain sort has it."""
    monitor, tasks = unhurried(0.9)
    generation = generation_of(1, SearchMethod.SCAN)
    await checked(monitor, tasks, generation, 50)
    chance, recalls = np.random.default_rng(9), []
    for _ in range(50):
        query = chance.normal(size=DIM)
        found, exact = (generation.index.search(query, 10, exact=exact).labels[:10] for exact in (False, True))
        recalls.append(len(np.intersect1d(found, exact)) / 10)
    assert monitor.sample_count == 50
    assert monitor.recall == np.mean(recalls)


async def test_few_searches_are_checked():
    """A hundred searches at once take one check: the share of a core that checks may take is bounded."""
    tasks = TaskKeeper()
    monitor = RecallMonitor(tasks, 0.9)
    generation = generation_of(1, SearchMethod.SCAN)
    for _ in range(100):
        monitor.searched(generation, np.ones(DIM))
    await tasks.drain()
    assert monitor.sample_count == 1


async def test_exact_searches_need_no_check():
    """They find everything."""
    monitor, tasks = unhurried(0.9)
    await checked(monitor, tasks, generation_of(1, None), 3)
    assert (monitor.sample_count, monitor.recall) == (0, 0.0)


async def test_a_new_generation_begins_anew():
    """What was found in the one before says nothing of it."""
    monitor, tasks = unhurried(0.9)
    await checked(monitor, tasks, generation_of(1, SearchMethod.SCAN), 5)
    await checked(monitor, tasks, generation_of(2, SearchMethod.SCAN), 2)
    assert monitor.sample_count == 2


async def test_searches_that_find_too_little_get_wider():
    """A graph that is too narrow for the queries that come is searched wider, step by step, until it is not."""
    monitor, tasks = unhurried(0.93)
    generation = generation_of(1, SearchMethod.GRAPH)
    sealed = generation.index.sealed
    assert sealed is not None
    narrow = sealed.calibration.max_ef_search
    await checked(monitor, tasks, generation, 4 * MIN_SAMPLES + 50)
    now = generation.index.sealed
    assert now is not None
    assert now.calibration.max_ef_search > narrow
    assert monitor.recall >= 0.93 - 0.01


async def test_a_generation_may_go_while_it_is_checked():
    """The check's outcome is left aside."""
    monitor, tasks = unhurried(0.9)
    monitor.searched(generation_of(1, SearchMethod.SCAN), np.ones(DIM))
    await asyncio.sleep(0)  # the check has begun
    monitor.searched(generation_of(2, SearchMethod.SCAN), np.ones(DIM))
    await tasks.drain()
    assert monitor.sample_count == 0
