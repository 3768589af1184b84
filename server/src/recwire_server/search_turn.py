"""Searches take turns on the event loop."""

import asyncio
import time
from collections import deque
from math import inf

from recwire_server.errors import ExhaustedError, LateError
from recwire_server.queue_limit import Pace, QueueLimit, Standing, retry_delay_s
from recwire_server.reason import Reason

# After a search that took longer than this, the loop takes in, and refuses, the calls that came meanwhile: else each
# would be seen only when it is its turn, when it is too late. Shorter ones leave it free often enough, and a refusal
# costs about as much as they do.
LONG_S = 0.002
# The intake ends when no call has come for so long; a call takes gRPC about .2 ms, and timers count in milliseconds.
SETTLE_S = 0.001
# It takes no longer than so many searches, however many come: four fifths of the time. With less, calls that come ten
# times as fast as searches end wait in gRPC, where nobody sees them, until all are too late.
MAX_INTAKE_SEARCHES = 4.0


class SearchTurns:
    """Lets one search run at a time, in the order in which they came; each is an `async with` block without an await.

    Refused with ExhaustedError is who would wait longer than the limit, or past the deadline; with LateError whose
    deadline has passed when the turn comes. Belongs to the event loop.
    """

    def __init__(self, limit: QueueLimit) -> None:
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._standing = Standing()
        # Two times of time.monotonic(): before the first no search begins; the first is never moved past the second.
        self._next_s = 0.0
        self._last_next_s = 0.0
        self._is_handing_over = False
        self._pace = Pace()

    @property
    def waiting_count(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def turn(self, deadline_s: float) -> "_Turn":
        """Wait for the turn, and have it for the length of an `async with` block.

        deadline_s: a time.monotonic(); inf: wait as long as it takes.
        """
        return _Turn(self, deadline_s)

    async def wait(self, deadline_s: float) -> float:
        """Return once it is the caller's turn: the time.monotonic() at which that is."""
        now_s = time.monotonic()
        if not self._waiting and now_s >= self._next_s:
            return now_s
        if now_s < self._next_s:
            self._next_s = min(max(self._next_s, now_s + SETTLE_S), self._last_next_s)
        self._admit(now_s, deadline_s)
        turn = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._standing.become(filled=True)
        self._waiting.append(turn)
        self._hand_over_at(self._next_s)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
                if not self._waiting:
                    self._standing.become(filled=False)
            raise
        if (now_s := time.monotonic()) >= deadline_s:
            raise LateError("the deadline passed before the search was begun")
        return now_s

    def searched(self, begin_s: float) -> None:
        """Take note of a search that began then and ends now."""
        now_s = time.monotonic()
        taken_s = now_s - begin_s
        self._pace.took(taken_s)
        if taken_s > LONG_S:
            self._next_s, self._last_next_s = now_s + SETTLE_S, now_s + MAX_INTAKE_SEARCHES * self._pace.estimate_s

    def _admit(self, now_s: float, deadline_s: float) -> None:
        if deadline_s == inf:
            return
        wait_s = len(self._waiting) * self._pace.estimate_s + max(0.0, self._next_s - now_s)
        limit_s = self._limit.wait_s(is_standing=self._standing.is_standing())
        if now_s + wait_s + self._pace.estimate_s > deadline_s:
            told = f"a search takes {self._pace.estimate_s:.3f} s; the deadline is in {deadline_s - now_s:.3f} s"
        elif self._waiting and wait_s > limit_s:
            told = f"the limit is {limit_s:g} s"
        else:
            return
        description = f"{len(self._waiting):,} searches take about {wait_s:.3f} s before this one's turn; {told}"
        raise ExhaustedError(Reason.OVERLOADED, description, retry_delay_s(wait_s))

    def _hand_over_at(self, at_s: float) -> None:
        if not self._is_handing_over:
            self._is_handing_over = True
            loop = asyncio.get_running_loop()
            loop.call_later(max(0.0, at_s - time.monotonic()), self._hand_over)

    def _hand_over(self) -> None:
        """Give the first of those who wait the turn, and come back for the next."""
        self._is_handing_over = False
        if time.monotonic() >= self._next_s:
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    break
            if not self._waiting:
                self._standing.become(filled=False)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_over_at_next)

    def _hand_over_at_next(self) -> None:
        self._hand_over_at(self._next_s)


class _Turn:
    """A search's turn; by contextlib it would take three times as long."""

    __slots__ = ("_begin_s", "_deadline_s", "_turns")

    def __init__(self, turns: SearchTurns, deadline_s: float) -> None:
        self._turns = turns
        self._deadline_s = deadline_s
        self._begin_s = 0.0

    async def __aenter__(self) -> None:
        self._begin_s = await self._turns.wait(self._deadline_s)

    async def __aexit__(self, *error: object) -> None:
        self._turns.searched(self._begin_s)
