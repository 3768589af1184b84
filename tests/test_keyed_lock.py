"""Locks by name: one holder at a time, the first to come first, whoever goes away while waiting."""

import asyncio

from recwire_server.keyed_lock import KeyedLocks


async def test_holders_of_a_name_come_one_by_one_in_order():
    """Those of another name do not wait for them; what nobody holds is forgotten."""
    locks, log = KeyedLocks(), []

    async def hold(name: str, who: int) -> None:
        async with locks.held(name):
            log.append((name, who))
            await asyncio.sleep(0)
            log.append((name, who))

    await asyncio.gather(*(hold("a", n) for n in range(5)), hold("b", 0))
    assert [who for name, who in log if name == "a"] == [n for n in range(5) for _ in range(2)]
    assert log.index(("b", 0)) < log.index(("a", 1))
    assert "a" not in locks
    assert "b" not in locks


async def test_who_is_cancelled_while_waiting_holds_up_nobody():
    """Before the turn comes, and in the very moment in which it does."""
    for turns_before in range(3):
        locks, log = KeyedLocks(), []

        async def hold(who: str, locks: KeyedLocks = locks, log: list[str] = log) -> None:
            async with locks.held("a"):
                log.append(who)

        await locks.acquire("a")
        waiting = [asyncio.create_task(hold(who)) for who in ("first", "second")]
        await asyncio.sleep(0)
        if turns_before:
            locks.release("a")
        for _ in range(turns_before - 1):
            await asyncio.sleep(0)
        waiting[0].cancel()
        if not turns_before:
            locks.release("a")
        await asyncio.gather(*waiting, return_exceptions=True)
        assert log[-1] == "second"
        assert "a" not in locks


async def test_an_error_in_the_block_lets_go():
    """And is raised."""
    locks = KeyedLocks()
    try:
        async with locks.held("a"):
            raise ValueError("x")
    except ValueError:
        pass
    assert "a" not in locks
