"""What time it is."""

from collections.abc import Callable

Clock = Callable[[], int]
"""Returns nanoseconds since 1970."""
