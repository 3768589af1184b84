"""What was served to whom lately."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

# Items remembered over all users, at about 150 bytes each; of a user, more than a day of answers.
MAX_ITEMS, MAX_USER_ITEMS = 1_000_000, 2_000


class ServedHistory:
    """Remembers which items users were given, and when. In memory only: a restart forgets. Belongs to the event loop.

    The users served the longest ago are forgotten first, and of a user the items.
    """

    def __init__(self) -> None:
        self._users: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()  # the last served is last, here and within
        self._item_count = 0

    def add(self, user_id: str, item_ids: Iterable[str], time_ns: int) -> None:
        """Remember that a user was given items."""
        times = self._users.setdefault(user_id, OrderedDict())
        self._users.move_to_end(user_id)
        self._item_count -= len(times)
        for item_id in item_ids:
            times[item_id] = time_ns
            times.move_to_end(item_id)
        while len(times) > MAX_USER_ITEMS:
            times.popitem(last=False)
        self._item_count += len(times)
        while self._item_count > MAX_ITEMS and len(self._users) > 1:
            _, forgotten = self._users.popitem(last=False)
            self._item_count -= len(forgotten)

    def since(self, user_id: str, time_ns: int) -> set[str]:
        """Return the items that a user was given at this time or later."""
        # All of them: where the clock was set back in between, they do not lie in order of time.
        served: Mapping[str, int] = self._users.get(user_id, {})
        return {item_id for item_id, served_ns in served.items() if served_ns >= time_ns}

    def remove(self, user_id: str) -> None:
        """Forget a user."""
        self._item_count -= len(self._users.pop(user_id, ()))
