"""Files of items and events into a running server, through the public API.

Read in this order: `source` (a file's rows), `column` (which column gives which field), `cell` (one value),
`item` and `event` (a row's message), `report` (what went in and what did not), `call` (errors, retries),
`item_import` and `event_import` (the sending).

Errors: `ImportingError` is the root. `UsageError` is the caller's to mend before anything is sent,
`LineError` a line's, `ServerError` the server's or the network's; `StoppedError` ends a strict import.
"""

import grpc


class ImportingError(Exception):
    """The root of what an import raises."""


class UsageError(ImportingError):
    """The file, or what was said about its columns, cannot be used; the message says what to change."""


class LineError(ImportingError):
    """A line cannot be used; the message is the reason, without the place."""


class StoppedError(ImportingError):
    """A strict import met its first bad line."""


class ServerError(ImportingError):
    """The server cannot be reached, went away for longer than the patience, or refuses every call.

    code: the status of the call that failed; None: there was none.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code
