"""What most users like."""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence

from recwire_server.event import Event, effective_weight
from recwire_server.store import Store


class Popularity:
    """Counts each item's events of positive weight, over all users. Belongs to the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[str] = Counter()

    async def start(self) -> None:
        """Count what the store has."""
        for row in await self._store.item_event_counts():
            if effective_weight(row.type, row.weight) > 0:
                self._counts[row.item_id] += row.count

    def add(self, events: Sequence[Event]) -> None:
        """Count new events."""
        self._counts.update(_liked(events))

    def remove(self, events: Sequence[Event]) -> None:
        """Count erased events no more."""
        self._counts -= Counter(_liked(events))

    def ranked(self) -> Iterator[tuple[str, int]]:
        """Yield items with events, the most first, with their count; ties by item id."""
        rest = [(-count, item_id) for item_id, count in self._counts.items()]
        heapq.heapify(rest)  # cheaper than sorting: few of them are asked for
        while rest:
            count, item_id = heapq.heappop(rest)
            yield item_id, -count


def _liked(events: Sequence[Event]) -> list[str]:
    return [event.item_id for event in events if event.item_id is not None and event.effective_weight > 0]
