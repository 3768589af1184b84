"""Users with histories of a length, who get answers and new events."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence

from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.scaling.scaled import Scaled, item_name
from recwire import Event, UserUpdate

SEED = 7
MAX_EVENTS_A_CALL = 256
MOST_GROWTH = 0.1  # of a history while it is measured, where one event is not more

RECOMMEND, UPDATE = "recommend", "update_user"


def measure_histories(
    one: Scaled, lengths: Sequence[int], rounds: int, calls: int, warm_up_calls: int
) -> dict[int, dict[str, Measurement]]:
    """Return what Recommend and UpdateUser with an event take, by how many events a user has had; in turn."""
    updates = rounds * calls + warm_up_calls
    contenders: dict[tuple[int, str], Contender] = {}
    for length in lengths:
        users = [f"history-{length}-{number}" for number in range(user_count(length, updates))]
        for _ in one.client.update_user_stream(_updates(users, length, one.item_count)):
            pass
        for user_id in users:
            one.client.recommend(user_id, limit=1)  # so that the server holds the user
        contenders |= _contenders(one, users, length)
    measured = measure(contenders, rounds, calls, warm_up_calls)
    return {length: {call: measured[length, call] for call in (RECOMMEND, UPDATE)} for length in lengths}


def user_count(length: int, updates: int) -> int:
    """Return how many users so many updates are shared by, so that no history grows by more than a tenth, or one."""
    return math.ceil(updates / max(1, int(MOST_GROWTH * length)))


def _updates(user_ids: Sequence[str], length: int, item_count: int) -> Iterator[UserUpdate]:
    chance = random.Random(SEED)
    for user_id in user_ids:
        for first in range(0, length, MAX_EVENTS_A_CALL):
            count = min(MAX_EVENTS_A_CALL, length - first)
            yield UserUpdate(user_id, [_event(chance, item_count) for _ in range(count)])


def _contenders(one: Scaled, user_ids: Sequence[str], length: int) -> dict[tuple[int, str], Contender]:
    chance = random.Random(SEED)
    asking, telling = itertools.cycle(user_ids), itertools.cycle(user_ids)
    cpu_s = one.server.threads_cpu_s
    return {
        (length, RECOMMEND): Contender(lambda: one.client.recommend(next(asking)), cpu_s),
        (length, UPDATE): Contender(
            lambda: one.client.update_user(next(telling), [_event(chance, one.item_count)]), cpu_s
        ),
    }


def _event(chance: random.Random, item_count: int) -> Event:
    return Event(item_id=item_name(chance.randrange(item_count)))
