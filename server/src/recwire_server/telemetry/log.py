"""How log lines are written: as text for people, or as JSON, one object a line, for machines."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from recwire_server.config import LogFormat, LogLevel

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What every record has; what it has beside is what the line was given as `extra`.
STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


CurrentTrace = Callable[[], Mapping[str, str]]
"""Returns trace_id and span_id of the running call, if it is traced."""


def start_logging(level: LogLevel, log_format: LogFormat, current_trace: CurrentTrace = dict) -> None:
    """Write the log to standard error. current_trace: for JSON; the default knows of no trace."""
    is_json = log_format is LogFormat.JSON
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(current_trace) if is_json else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("recwire_server").setLevel(level.upper())


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time (RFC 3339, UTC), level, logger, message; trace_id and span_id of the
    call that wrote it, if it is traced; exception, with its traceback, as one string; and what was given as `extra`.

    By hand: what libraries for it offer beyond these lines is not used here, and time and traces would be set up by
    hand with them too.
    """

    def __init__(self, current_trace: CurrentTrace) -> None:
        super().__init__()
        self._current_trace = current_trace

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._current_trace(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line |= {name: value for name, value in record.__dict__.items() if name not in STANDARD_FIELDS}
        return json.dumps(line, default=str)
