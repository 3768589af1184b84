"""How many calls are in work at a time."""

import random

from recwire_server.errors import ExhaustedError
from recwire_server.reason import Reason

# A call takes milliseconds, so that room comes soon; not all who were refused come back at once.
MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.1, 0.3


class Slots:
    """Room for calls of a kind; each takes its place for the length of a `with` block. Belongs to the event loop.

    kind: for people, in the plural. setting: the name of what sets the limit. Entering raises ExhaustedError if all
    places are taken.
    """

    def __init__(self, kind: str, limit: int, setting: str) -> None:
        self._kind = kind
        self._limit = limit
        self._setting = setting
        self.taken_count = 0

    def __enter__(self) -> None:
        if self.taken_count >= self._limit:
            description = (
                f"{self.taken_count:,} {self._kind} are in work; the limit is {self._limit:,} ({self._setting})"
            )
            raise ExhaustedError(
                Reason.TOO_MANY_CALLS, description, random.uniform(MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S)
            )
        self.taken_count += 1

    def __exit__(self, *error: object) -> None:
        self.taken_count -= 1
