"""Waiting for what a server does in the background."""

import time
from collections.abc import Callable

from recwire import Client, Event

PATIENCE_S = 120.0  # for what takes seconds on an idle machine


def wait_until(client: Client, holds: Callable[[], bool]) -> None:
    """Wait for the server to get somewhere. Each look costs it a durable write, of a user of its own, so that it has
    time to get on with the rest."""
    deadline_s, number = time.monotonic() + PATIENCE_S, 0
    while not holds():
        assert time.monotonic() < deadline_s, "it did not get there"
        client.update_user("waiting", [Event(item_id="none", event_id=str(number))])
        number += 1


def wait_until_built(client: Client) -> None:
    """Wait until no index is being built; one that a write makes due is, once the write is acknowledged."""
    wait_until(client, lambda: not client.get_server_info().index.is_rebuilding)
