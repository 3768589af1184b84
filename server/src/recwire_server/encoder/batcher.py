"""The threads that an encoder runs on, and what they share: the queue in front of them."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

from recwire_server.encoder import DeadlineError, Encoder, OverloadedError, Priority, StoppedError, Vector
from recwire_server.encoder.queue import Batch, BatchRun, QueuedSequence, SequenceQueue
from recwire_server.queue_limit import Pace, QueueLimit, retry_delay_s

# Bulk work that waits, in batches a worker: enough for near lengths to meet, few enough to give up at once.
BULK_BATCHES = 8


class Job:
    """The sequences of a text on their way through the model. `done` is called once, on the event loop, with their
    vectors or with the reason why there are none; not at all after Batcher.withdraw."""

    def __init__(
        self,
        sequences: Sequence[Sequence[int]],
        priority: Priority,
        deadline_s: float,
        done: Callable[[list[Vector] | Exception], None],
    ) -> None:
        self._done = done
        self._vectors: dict[int, Vector] = {}
        self.is_over = False
        self.queued = [
            QueuedSequence(tokens, priority, deadline_s, partial(self._take, index))
            for index, tokens in enumerate(sequences)
        ]

    def _take(self, index: int, outcome: Vector | Exception) -> None:
        if self.is_over:
            return
        done = self._done
        if isinstance(outcome, Exception):
            self.end()
            done(outcome)
            return
        self._vectors[index] = outcome
        if len(self._vectors) == len(self.queued):
            self.end()
            done([self._vectors[place] for place in range(len(self.queued))])

    def end(self) -> None:
        """Take no further vector, and let go of who was to be told: what is done would stay, until the garbage
        collector comes by."""
        self.is_over = True
        self._done = _ignore
        for sequence in self.queued:
            sequence.answer = _ignore


class Batcher:
    """Runs jobs through one encoder in batches, on `worker_count` threads.

    Use it as `async with`; the threads live as long as the block, and what waits at its end fails with StoppedError.
    A thread that is free takes a batch of what waits (see SequenceQueue) at once; with max_batch_wait_s it lets the
    batch fill for so long, from its first sequence on. max_queue_size: interactive sequences that may wait; more are
    refused. wait_limit: for how long they may wait. Bulk work waits in `room` for its turn instead. observe: told of
    each batch that the model has run. Belongs to the event loop; what it shares with the threads is behind a lock.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        worker_count: int,
        max_batch_size: int,
        max_batch_tokens: int,
        max_batch_wait_s: float,
        max_queue_size: int,
        wait_limit: QueueLimit,
        observe: Callable[[Sequence[QueuedSequence], BatchRun], None] = lambda sequences, run: None,
    ) -> None:
        self._encoder = encoder
        self._worker_count = worker_count
        # Where the vector depends on what else is in the batch, and on padding, each sequence runs alone.
        self._max_batch_size = max_batch_size if encoder.batch_invariant else 1
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_wait_s = max_batch_wait_s
        self.max_queue_size = max_queue_size
        self._wait_limit = wait_limit
        self._max_bulk_size = BULK_BATCHES * self._max_batch_size * worker_count
        self._queue = SequenceQueue(self._max_batch_size, max_batch_tokens)
        self._lock = threading.Lock()  # guards the queue and the four below
        self._idle: list[threading.Lock] = []  # what each idle thread waits for; the last to fall idle is last
        self._free_count = 0  # threads that look for work: the idle ones, and those that are waking up
        self._running: dict[int, float] = {}  # when the batch that a thread runs should end, by the thread
        self._is_open = False
        self._bulk_turn = asyncio.Lock()
        self._bulk_room = asyncio.Event()
        self._pace = Pace()  # of one worker, for a token
        self._observe = observe

    async def __aenter__(self) -> Self:
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._work, name=f"encode-{number}", daemon=True)
            for number in range(self._worker_count)
        ]
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._is_open = False
            waiting = self._queue.clear()
            woken, self._idle = self._idle, []
        for wake in woken:
            wake.release()
        self._bulk_room.set()
        for sequence in waiting:
            sequence.answer(StoppedError("the server is stopping"))
        # Waiting for the batches in hand takes a moment, which the event loop must not stand still for.
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    @property
    def queue_size(self) -> int:
        """How many sequences wait."""
        return len(self._queue)

    def size(self, priority: Priority) -> int:
        """Return how many sequences of a class wait. May be called on any thread."""
        return self._queue.size(priority)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs. Raises StoppedError after the block."""
        queued = [sequence for job in jobs for sequence in job.queued]
        now_s = time.monotonic()
        with self._lock:
            if not self._is_open:
                raise StoppedError("the server is stopping")
            for sequence in queued:
                self._queue.put(sequence, now_s)
            # The last to fall idle is woken first: the model is still in its core's caches.
            woken = [self._idle.pop() for _ in range(min(len(self._idle), len(queued)))]
        for wake in woken:
            wake.release()

    def withdraw(self, job: Job) -> None:
        """Drop what of a job has not reached the model; nobody waits for it any more."""
        job.end()
        with self._lock:
            for sequence in job.queued:
                self._queue.remove(sequence)
        self._offer_room()

    def extend(self, job: Job, priority: Priority, deadline_s: float) -> bool:
        """Let a job be done in the better of its class and this, by the later of its deadline and this; return whether
        it is not too late for that, its deadline having passed."""
        with self._lock:
            if job.queued[0].deadline_s <= time.monotonic():
                return False
            for sequence in job.queued:
                sequence.deadline_s = max(sequence.deadline_s, deadline_s)
                self._queue.promote(sequence, priority)
            return True

    def check_admission(self, size: int, token_count: int, deadline_s: float) -> None:
        """Raise OverloadedError if so many more interactive sequences, with so many tokens, are too many or come too
        late. Nothing is refused while a thread is idle: an estimate that is wrong would never be mended."""
        now_s = time.monotonic()
        waiting = self._queue.size(Priority.INTERACTIVE)  # without the lock: the threads only make it less
        wait_s = self._wait_s(now_s)
        if wait_s is None:
            return
        if waiting and waiting + size > self.max_queue_size:
            description = f"{waiting:,} texts wait for the encoder and {size:,} more came; the limit is"
            raise OverloadedError(f"{description} {self.max_queue_size:,}", retry_delay_s(wait_s))
        left_s, taken_s = deadline_s - now_s, wait_s + token_count * self._pace.estimate_s
        if taken_s > left_s > 0:
            description = (
                f"what waits for the encoder takes it about {taken_s:.3f} s; the deadline is in {left_s:.3f} s"
            )
            raise OverloadedError(description, retry_delay_s(wait_s))
        with self._lock:
            limit_s = self._wait_limit.wait_s(is_standing=self._queue.is_standing(Priority.INTERACTIVE))
        if waiting and wait_s > limit_s:
            description = f"what waits for the encoder takes it about {wait_s:.3f} s; the limit is {limit_s:g} s"
            raise OverloadedError(description, retry_delay_s(wait_s))

    def _wait_s(self, now_s: float) -> float | None:
        """Return about how long an interactive sequence that comes now waits until it runs; None: a thread is idle."""
        with self._lock:
            if self._free_count > 0 and not len(self._queue):
                return None
            rest_s = sum(max(0.0, end_s - now_s) for end_s in self._running.values())
        waiting_s = self._queue.token_count(Priority.INTERACTIVE) * self._pace.estimate_s
        return (rest_s + waiting_s) / self._worker_count

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Wait until bulk work may be submitted, which is to happen within the block: one caller at a time, in the
        order in which they came."""
        async with self._bulk_turn:
            while self._is_open and self._queue.size(Priority.BULK) >= self._max_bulk_size:
                self._bulk_room.clear()
                await self._bulk_room.wait()
            yield

    def _offer_room(self) -> None:
        if self._queue.size(Priority.BULK) < self._max_bulk_size:
            self._bulk_room.set()

    def _work(self) -> None:
        """Run batches until the end; on a thread of its own."""
        wake = threading.Lock()
        wake.acquire()
        while (batch := self._next_batch(wake)) is not None:
            begin_s = time.monotonic()
            outcome: Vector | Exception = StoppedError()  # for a batch that is empty
            if batch.sequences:
                try:
                    outcome = self._encoder.run([sequence.tokens for sequence in batch.sequences])
                except Exception as error:  # the requests of this batch fail, the next ones are served
                    outcome = error
            self._loop.call_soon_threadsafe(self._deliver, batch, outcome, begin_s, time.monotonic())

    def _next_batch(self, wake: threading.Lock) -> Batch | None:
        """Wait for the next batch and return it; None at the end. wake: held; released to wake this thread."""
        with self._lock:
            self._free_count += 1
            self._running.pop(threading.get_ident(), None)
        while True:
            wait_s = -1.0  # for as long as it takes
            with self._lock:
                if not self._is_open:
                    return None
                if len(self._queue):
                    now_s = time.monotonic()
                    wait_s = self._queue.wait_s(self._max_batch_wait_s, now_s) if self._max_batch_wait_s else 0.0
                    if not wait_s:
                        batch = self._queue.take(now_s, self._free_count)
                        self._free_count -= 1
                        self._running[threading.get_ident()] = now_s + batch.padded_token_count * self._pace.estimate_s
                        return batch
                self._idle.append(wake)
            if not wake.acquire(timeout=wait_s):
                self._stay_awake(wake)

    def _stay_awake(self, wake: threading.Lock) -> None:
        """Leave the idle threads; `wake` is held again on return, whether or not somebody has just released it."""
        with self._lock:
            is_idle = wake in self._idle
            if is_idle:
                self._idle.remove(wake)
        if not is_idle:
            wake.acquire()

    def _deliver(self, batch: Batch, outcome: Vector | Exception, begin_s: float, end_s: float) -> None:
        self._offer_room()
        for sequence in batch.expired:
            sequence.answer(DeadlineError("the deadline passed while the text waited for the encoder"))
        if not batch.sequences:
            return
        if not isinstance(outcome, Exception):
            run = self._run_of(batch, begin_s, end_s)
            self._pace.took((end_s - begin_s) / run.padded_token_count)
            self._observe(batch.sequences, run)
        for row, sequence in enumerate(batch.sequences):
            # A copy, which does not keep the whole batch in memory.
            sequence.answer(outcome if isinstance(outcome, Exception) else outcome[row].copy())

    def _run_of(self, batch: Batch, begin_s: float, end_s: float) -> BatchRun:
        """Return what a batch has taken, and note it with its sequences."""
        sequences, padded = batch.sequences, batch.padded_token_count
        fill = max(len(sequences) / self._max_batch_size, padded / self._max_batch_tokens)
        run = BatchRun(begin_s, end_s, sum(len(one.tokens) for one in sequences), padded, fill)
        for sequence in sequences:
            sequence.run = run
        return run


def _ignore(outcome: object) -> None:
    """Take what nobody waits for."""
