"""A stretch of time within a call, told of to whoever traces calls."""

from collections.abc import Callable, Mapping

RecordSpan = Callable[[str, float, float, Mapping[str, str | int | float | bool]], None]
"""Takes what was done between two time.monotonic()s: name, begin, end, attributes; called within the call's task."""
