"""What waits for the model, and which of it makes the next batch."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from recwire_server.encoder import Priority
from recwire_server.encoder.queue import BULK_TURN, MAX_PADDING_SHARE, QueuedSequence, SequenceQueue

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK
NOW_S = 100.0
NEVER_S = float("inf")


def sequence(length: int, priority: Priority = INTERACTIVE, deadline_s: float = NEVER_S) -> QueuedSequence:
    return QueuedSequence(range(length), priority, deadline_s, lambda outcome: None)


def queue_of(
    sequences: Sequence[QueuedSequence], max_batch_size: int = 4, max_batch_tokens: int = 100
) -> SequenceQueue:
    queue = SequenceQueue(max_batch_size, max_batch_tokens)
    for one in sequences:
        queue.put(one, NOW_S)
    return queue


def lengths(batch: Sequence[QueuedSequence]) -> list[int]:
    return [len(one.tokens) for one in batch]


def test_near_lengths_share_a_batch():
    """The oldest comes first, and with it those of the nearest lengths, whenever they came."""
    queue = queue_of([sequence(length) for length in (20, 90, 5, 21, 88, 19, 4, 23)])
    assert lengths(queue.take(NOW_S, 1).sequences) == [19, 20, 21, 23]
    assert lengths(queue.take(NOW_S, 1).sequences) == [90]
    assert lengths(queue.take(NOW_S, 1).sequences) == [4, 5]


def test_a_batch_keeps_its_bounds():
    """It has at most max_batch_size sequences and max_batch_tokens padded tokens; a longer sequence runs alone."""
    queue = queue_of([*(sequence(30) for _ in range(5)), sequence(500)])
    assert [lengths(queue.take(NOW_S, 1).sequences) for _ in range(3)] == [[30, 30, 30], [30, 30], [500]]


def test_an_odd_length_is_not_overtaken_for_long():
    """Under constant arrivals of other lengths a sequence is taken as soon as it is the oldest."""
    odd = sequence(90)
    queue = queue_of([*(sequence(10) for _ in range(6)), odd])
    batches = 0
    while odd.is_waiting:
        for _ in range(4):
            queue.put(sequence(10), NOW_S)
        queue.take(NOW_S, 1)
        batches += 1
    assert batches == 3


def test_interactive_goes_first_but_bulk_goes_on():
    """While both classes wait, bulk work gets one batch in BULK_TURN, and a batch holds one class."""
    queue = queue_of([])
    classes = []
    for _ in range(4 * BULK_TURN):
        queue.put(sequence(10), NOW_S)
        queue.put(sequence(10, BULK), NOW_S)
        classes.append({one.priority for one in queue.take(NOW_S, 1).sequences})
    assert classes == [{BULK} if turn % BULK_TURN == BULK_TURN - 1 else {INTERACTIVE} for turn in range(4 * BULK_TURN)]


def test_what_waits_is_shared_by_the_idle_workers():
    """Each of three takes a third."""
    queue = queue_of([sequence(10) for _ in range(6)], max_batch_size=8)
    assert [len(queue.take(NOW_S, idle).sequences) for idle in (3, 2, 1)] == [2, 2, 2]


def test_expired_sequences_do_not_reach_the_model():
    """What has passed its deadline is handed out apart, and its places go to others."""
    late, on_time = sequence(10, deadline_s=NOW_S), sequence(90, deadline_s=NOW_S + 1)
    queue = queue_of([late, on_time])
    batch = queue.take(NOW_S, 1)
    assert (batch.sequences, batch.expired) == ([on_time], [late])


def test_a_batch_waits_for_its_first_sequence_only():
    """With a wait, a batch is due when it is full, or when its oldest sequence has waited that long."""
    queue = queue_of([sequence(10)])
    assert queue.wait_s(0.5, NOW_S + 0.25) == 0.25
    assert queue.wait_s(0.5, NOW_S + 0.75) == 0
    for _ in range(3):
        queue.put(sequence(10), NOW_S + 0.25)
    assert queue.wait_s(0.5, NOW_S + 0.25) == 0


steps = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 150), st.sampled_from(Priority), st.booleans()),
    st.tuples(st.just("take"), st.integers(1, 3)),
    st.tuples(st.just("remove"), st.integers(0, 99)),
    st.tuples(st.just("promote"), st.integers(0, 99)),
)


@given(st.lists(steps, max_size=80), st.integers(1, 8), st.integers(1, 300))
def test_every_sequence_leaves_once(steps, max_batch_size, max_batch_tokens):
    """In whatever order sequences come, go, expire and move up: each is handed out once, or removed; bounds hold."""
    queue = SequenceQueue(max_batch_size, max_batch_tokens)
    put: list[QueuedSequence] = []
    removed: set[QueuedSequence] = set()
    left: list[QueuedSequence] = []

    def take(worker_count: int) -> None:
        batch = queue.take(NOW_S, worker_count)
        left.extend([*batch.sequences, *batch.expired])
        padded = max(lengths(batch.sequences), default=0) * len(batch.sequences)
        assert len(batch.sequences) <= max_batch_size
        assert len({one.priority for one in batch.sequences}) <= 1
        assert len(batch.sequences) <= 1 or padded <= max_batch_tokens
        assert all(one.deadline_s > NOW_S for one in batch.sequences)
        assert all(one.deadline_s <= NOW_S for one in batch.expired)

    for step in steps:
        match step:
            case ("put", length, priority, is_late):
                put.append(sequence(length, priority, NOW_S if is_late else NEVER_S))
                queue.put(put[-1], NOW_S)
            case ("take", worker_count):
                take(worker_count)
            case ("remove", number) if put:
                one = put[number % len(put)]
                removed |= {one} if one.is_waiting else set()
                queue.remove(one)
            case ("promote", number) if put:
                queue.promote(put[number % len(put)], INTERACTIVE)
    while len(queue):
        take(1)

    assert len(left) == len(set(left))
    assert set(left) | removed == set(put)
    assert not set(left) & removed
    assert [queue.token_count(priority) for priority in Priority] == [0, 0]


def test_padding_stays_below_its_share():
    """Of the tokens of random batches, padding is at most MAX_PADDING_SHARE."""
    chance = random.Random(7)
    queue = queue_of([sequence(chance.randint(1, 120)) for _ in range(500)], max_batch_tokens=512)
    while len(queue):
        batch = lengths(queue.take(NOW_S, 1).sequences)
        assert sum(batch) >= (1 - MAX_PADDING_SHARE) * max(batch) * len(batch)
