"""What can go wrong with a request, in the words of its sender.

    RecwireServerError
    |- InvalidRequestError   a field breaks its bound: every one of them is named
    |- NotFoundError         an item or a user asked for by id is unknown
    |- UnknownUserError      likewise, before it is told by which id
    |- PreconditionError     the request does not fit this server's state or model
    |- UnauthenticatedError  no API key, or none that is valid
    |- ForbiddenError        the key may not do this
    |- ExhaustedError        more than the server takes at a time: try again later
    |- LateError             the deadline has passed
    |- UnavailableError      starting, draining, or the store cannot write: try again later

Only the service layer turns them into status codes (`service/status.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """A field that breaks its bound: its path, such as `events[3].item_id`, and what is wrong, with the limit."""

    field: str
    description: str


class RecwireServerError(Exception):
    """The root; `reason` is a stable name for programs, such as TEXT_TOO_LONG."""

    reason = "UNKNOWN"


class InvalidRequestError(RecwireServerError):
    """Fields break their stated bounds."""

    reason = "INVALID_FIELD"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in violations))
        self.violations = tuple(violations)


class NotFoundError(RecwireServerError):
    """An item or a user asked for by id is unknown."""

    def __init__(self, resource_type: str, resource_name: str, description: str) -> None:
        super().__init__(description)
        self.reason = f"{resource_type.upper()}_NOT_FOUND"
        self.resource_type = resource_type
        self.resource_name = resource_name


class UnknownUserError(RecwireServerError):
    """A user has no events. Only the service can name the user: what is kept may be a pseudonym."""

    reason = "USER_NOT_FOUND"


class PreconditionError(RecwireServerError):
    """The request does not fit this server's state or model: `reason` says which, `subject` names the field."""

    def __init__(self, reason: str, subject: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason
        self.subject = subject


class UnauthenticatedError(RecwireServerError):
    """Who calls is not known: `reason` says whether there is no key, or none that is valid."""

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason


class ForbiddenError(RecwireServerError):
    """Who calls is known, and may not: `reason` says why, `field` which id is at fault; empty: it is the rpc."""

    def __init__(self, reason: str, description: str, field: str = "") -> None:
        super().__init__(description)
        self.reason = reason
        self.field = field


class ExhaustedError(RecwireServerError):
    """More than the server takes at a time, or from this caller: try again after `retry_delay_s`.

    quota_subject: whose limit it is; empty: the server's.
    """

    def __init__(self, reason: str, description: str, retry_delay_s: float, quota_subject: str = "") -> None:
        super().__init__(description)
        self.reason = reason
        self.retry_delay_s = retry_delay_s
        self.quota_subject = quota_subject


class LateError(RecwireServerError):
    """The deadline passed before the answer was there."""

    reason = "DEADLINE_EXCEEDED"


class UnavailableError(RecwireServerError):
    """Try again after `retry_delay_s`."""

    def __init__(self, reason: str, description: str, retry_delay_s: float) -> None:
        super().__init__(description)
        self.reason = reason
        self.retry_delay_s = retry_delay_s
