"""Searches take turns: in order, refused at once where the turn comes too late, and none is forgotten."""

import asyncio
import random
import time
from math import inf

import pytest

from recwire_server.errors import ExhaustedError, LateError
from recwire_server.queue_limit import QueueLimit
from recwire_server.search_turn import SearchTurns

SEARCH_S = 0.01
TRIES = 10


async def search(turns: SearchTurns, deadline_s: float = inf, taken_s: float = SEARCH_S) -> float:
    """Search for so long; return when it began."""
    async with turns.turn(deadline_s):
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + taken_s:
            pass
        return begin_s


async def test_searches_run_in_the_order_in_which_they_came():
    """One at a time, whoever waits; those that are cancelled meanwhile are passed over."""
    turns, chance = SearchTurns(QueueLimit()), random.Random(1)
    tasks = [asyncio.create_task(search(turns, taken_s=chance.choice([0, 0.0005, 0.003]))) for _ in range(60)]
    await asyncio.sleep(0.01)
    for task in tasks[30:60:3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    begun = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert begun == sorted(begun)
    assert len(begun) >= 50
    assert turns.waiting_count == 0


async def test_a_turn_that_comes_past_the_deadline_is_refused_at_once():
    """By what searches took so far, with a time to come back after."""
    turns = SearchTurns(QueueLimit())
    for _ in range(10):
        await search(turns)
    waiting = [asyncio.create_task(search(turns)) for _ in range(10)]
    await asyncio.sleep(0)
    begin_s = time.monotonic()
    with pytest.raises(ExhaustedError, match="the deadline is in") as raised:
        await search(turns, deadline_s=begin_s + 5 * SEARCH_S)
    assert raised.value.retry_delay_s > 0
    assert not any(task.done() for task in waiting[1:])
    await asyncio.gather(*waiting)


async def test_a_search_is_dropped_whose_deadline_passed_while_it_waited():
    """Searches that take longer than they did before make it late; it is not begun."""
    turns = SearchTurns(QueueLimit())
    await search(turns, taken_s=0.001)
    slow = [asyncio.create_task(search(turns, taken_s=0.1)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(LateError):
        await search(turns, deadline_s=time.monotonic() + 0.08)
    await asyncio.gather(*slow)


async def test_a_burst_may_wait_where_a_standing_queue_is_short():
    """As for the encoder: twice as many as can be done are taken for a second, then the wait is short."""
    turns = SearchTurns(QueueLimit(max_wait_s=5, max_standing_wait_s=3 * SEARCH_S))
    begin_s, tasks = time.monotonic(), list[asyncio.Task[float]]()
    while (now_s := time.monotonic()) < begin_s + 1.8:
        tasks += [asyncio.create_task(search(turns, deadline_s=now_s + 60)) for _ in range(2)]
        await asyncio.sleep(SEARCH_S / 4)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, ExhaustedError)]
    assert refused[0] > 10, "a queue that has just come to be is no standing one"
    assert all("the limit is 0.03 s" in str(outcomes[number]) for number in refused)


async def test_an_estimate_that_was_wrong_is_mended():
    """After one search that took very long, a short deadline is tried again as soon as nobody waits."""
    turns = SearchTurns(QueueLimit())
    await search(turns, taken_s=0.5)
    await asyncio.sleep(0.1)
    for _ in range(3):
        await search(turns, deadline_s=time.monotonic() + 0.05, taken_s=0)
        await asyncio.sleep(0)


async def test_calls_that_came_during_a_search_are_taken_in_before_the_next():
    """Even if that takes twice as long as a search: what is not taken in waits where nobody refuses it."""
    for _ in range(TRIES):
        if await all_are_taken_in():
            return
    pytest.fail(f"in none of {TRIES} tries all were taken in")


async def all_are_taken_in() -> bool:
    """Return whether 40 calls, which come one after the other once a search has ended, are taken in before the next
    search ends. Each costs the event loop a twentieth of a search; a pause of the machine between two is their end."""
    turns = SearchTurns(QueueLimit())
    waiting = [asyncio.create_task(search(turns)) for _ in range(2)]
    taken_in = []

    async def take_in() -> None:
        for _ in range(40):
            taken_in.append(asyncio.create_task(search(turns, taken_s=0)))
            end_s = time.monotonic() + SEARCH_S / 20
            while time.monotonic() < end_s:
                pass
            await asyncio.sleep(0)

    await waiting[0]
    arrivals = asyncio.create_task(take_in())
    await waiting[1]
    are_in = arrivals.done()
    await arrivals
    await asyncio.gather(*taken_in)
    return are_in
