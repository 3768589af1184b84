"""What waits for the model, and which of it makes the next batch."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf

from recwire_server.encoder import Priority, Vector
from recwire_server.queue_limit import Standing

# While interactive work is waiting too, bulk work gets one batch in so many: an import goes on under any load, and a
# caller who waits meets one of its batches at most.
BULK_TURN = 8
# Of a batch's tokens, at most this share is padding: a short text beside a long one costs as much as the long one.
MAX_PADDING_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What a batch took of the model. begin_s, end_s: time.monotonic(). token_count: with padding padded_token_count.
    fill_ratio: of the most that a batch may be, 0-1; more of a sequence that is larger alone."""

    begin_s: float
    end_s: float
    token_count: int
    padded_token_count: int
    fill_ratio: float


@dataclass(eq=False, slots=True)
class QueuedSequence:
    """One sequence that waits for the model.

    deadline_s: the time.monotonic() from which on nobody waits for it; inf: none. answer: takes its vector, (dim,), or
    the reason why there is none. The queue sets the others: queue_time_s when it came, is_waiting whether it is still
    there; and the batcher run, once it has run.
    """

    tokens: Sequence[int]
    priority: Priority
    deadline_s: float
    answer: Callable[[Vector | Exception], None]
    queue_time_s: float = inf
    is_waiting: bool = False
    place: tuple[int, int] = field(default=(0, 0))  # its length and its number: how a lane finds it
    run: BatchRun | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model runs next, in order of length; and what was dropped on the way because its deadline has passed."""

    sequences: list[QueuedSequence]
    expired: list[QueuedSequence]

    @property
    def padded_token_count(self) -> int:
        """What the model runs, with padding."""
        return len(self.sequences) * len(self.sequences[-1].tokens) if self.sequences else 0


class SequenceQueue:
    """Holds what waits, and makes batches of it: the oldest sequence, and those of the nearest lengths with it.

    So no length waits longer than its turn. A batch holds one class: interactive first, but see BULK_TURN.
    max_batch_size: sequences of a batch. max_batch_tokens: its padded tokens; a sequence beyond that runs alone. Not
    thread-safe: the batcher's lock owns it.
    """

    def __init__(self, max_batch_size: int, max_batch_tokens: int) -> None:
        self._max_batch_size = max_batch_size
        self._max_batch_tokens = max_batch_tokens
        self._lanes = [_Lane() for _ in Priority]
        self._numbers = count()
        self._interactive_streak = 0  # interactive batches taken while bulk work waited

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def size(self, priority: Priority) -> int:
        """Return how many sequences of a class wait."""
        return len(self._lanes[priority])

    def is_standing(self, priority: Priority) -> bool:
        """Return whether the queue of a class stands, see Standing."""
        return self._lanes[priority].standing.is_standing()

    def token_count(self, priority: Priority) -> int:
        """Return how many tokens of a class wait."""
        return self._lanes[priority].token_count

    def put(self, sequence: QueuedSequence, now_s: float) -> None:
        """Add a sequence."""
        sequence.queue_time_s = now_s
        sequence.is_waiting = True
        lane = self._lanes[sequence.priority]
        sequence.place = (len(sequence.tokens), next(self._numbers))
        lane.add(sequence)

    def remove(self, sequence: QueuedSequence) -> None:
        """Forget a sequence; nothing happens if it does not wait any more."""
        if sequence.is_waiting:
            self._lanes[sequence.priority].remove(sequence)

    def promote(self, sequence: QueuedSequence, priority: Priority) -> None:
        """Let a sequence wait in a better class, as the newest there; nothing happens if it does so already."""
        if sequence.is_waiting and priority < sequence.priority:
            self._lanes[sequence.priority].remove(sequence)
            sequence.priority = priority
            sequence.is_waiting = True
            self._lanes[priority].add(sequence)

    def clear(self) -> list[QueuedSequence]:
        """Forget all; return it."""
        waiting = [sequence for lane in self._lanes for sequence in lane.sequences]
        for sequence in waiting:
            self.remove(sequence)
        return waiting

    def wait_s(self, max_wait_s: float, now_s: float) -> float:
        """Return how long the next batch may still wait to fill: 0 if it is full, or if its first sequence has waited
        for max_wait_s. Called when something waits."""
        lane = self._lanes[self._next_priority()]
        if len(lane) >= self._max_batch_size or lane.token_count >= self._max_batch_tokens:
            return 0.0
        return max(0.0, lane.oldest.queue_time_s + max_wait_s - now_s)

    def take(self, now_s: float, worker_count: int) -> Batch:
        """Remove the next batch and return it.

        worker_count: how many are ready to run one: each gets a share of what waits. The batch is empty if all that
        waited had expired.
        """
        expired: list[QueuedSequence] = []
        while len(self):
            priority = self._next_priority()
            lane = self._lanes[priority]
            size = min(self._max_batch_size, -(-len(lane) // worker_count))
            taken = lane.take(size, self._max_batch_tokens)
            batch = [sequence for sequence in taken if sequence.deadline_s > now_s]
            expired += [sequence for sequence in taken if sequence.deadline_s <= now_s]
            if batch:
                is_ahead = priority is Priority.INTERACTIVE and len(self._lanes[Priority.BULK])
                self._interactive_streak = self._interactive_streak + 1 if is_ahead else 0
                return Batch(batch, expired)
        return Batch([], expired)

    def _next_priority(self) -> Priority:
        is_bulk_turn = self._interactive_streak >= BULK_TURN - 1 and len(self._lanes[Priority.BULK]) > 0
        if len(self._lanes[Priority.INTERACTIVE]) and not is_bulk_turn:
            return Priority.INTERACTIVE
        return Priority.BULK


class _Lane:
    """The sequences of a class, by length and by age."""

    def __init__(self) -> None:
        self.sequences: list[QueuedSequence] = []  # by place
        self._by_age: OrderedDict[int, QueuedSequence] = OrderedDict()
        self.token_count = 0
        self.standing = Standing()

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def oldest(self) -> QueuedSequence:
        """The sequence that came first."""
        return next(iter(self._by_age.values()))

    def add(self, sequence: QueuedSequence) -> None:
        if not self.sequences:
            self.standing.become(filled=True)
        insort(self.sequences, sequence, key=_place)
        self._by_age[sequence.place[1]] = sequence
        self.token_count += len(sequence.tokens)

    def remove(self, sequence: QueuedSequence) -> None:
        position = self._position(sequence)
        self._forget(position, position + 1)

    def take(self, max_size: int, max_tokens: int) -> list[QueuedSequence]:
        """Remove the oldest sequence and its nearest neighbours in length, as many as fit; return them by length."""
        first = self._position(self.oldest)
        last = first
        tokens = len(self.sequences[first].tokens)
        while last - first + 1 < max_size:
            neighbours = [place for place in (first - 1, last + 1) if 0 <= place < len(self)]
            neighbours.sort(key=lambda place: abs(len(self.sequences[place].tokens) - len(self.oldest.tokens)))
            for place in neighbours:
                sum_tokens = tokens + len(self.sequences[place].tokens)
                padded = len(self.sequences[max(place, last)].tokens) * (last - first + 2)
                if padded <= max_tokens and padded - sum_tokens <= MAX_PADDING_SHARE * padded:
                    first, last, tokens = min(first, place), max(last, place), sum_tokens
                    break
            else:
                break
        return self._forget(first, last + 1)

    def _position(self, sequence: QueuedSequence) -> int:
        return bisect_left(self.sequences, sequence.place, key=_place)

    def _forget(self, start: int, stop: int) -> list[QueuedSequence]:
        gone = self.sequences[start:stop]
        del self.sequences[start:stop]
        for sequence in gone:
            sequence.is_waiting = False
            del self._by_age[sequence.place[1]]
            self.token_count -= len(sequence.tokens)
        if not self.sequences:
            self.standing.become(filled=False)
        return gone


def _place(sequence: QueuedSequence) -> tuple[int, int]:
    return sequence.place
