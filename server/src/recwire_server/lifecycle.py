"""Whether the server takes calls."""

from enum import Enum


class Phase(Enum):
    """Where a server is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Lifecycle:
    """The server's phase. Belongs to the event loop."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
