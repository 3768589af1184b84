"""The page of errors has every reason, under the code that callers get it with."""

import re
from pathlib import Path

import grpc
import pytest
from error_details import DETAILS
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from recwire_server.encoder import DeadlineError, OverloadedError, StoppedError, TextTooLongError
from recwire_server.errors import (
    ExhaustedError,
    ForbiddenError,
    InvalidRequestError,
    LateError,
    NotFoundError,
    PreconditionError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)
from recwire_server.reason import Reason
from recwire_server.service.status import ErrorTeller
from recwire_server.store import (
    StoreDamagedError,
    StoreExpiredError,
    StoreOverloadedError,
    StoreReadError,
    StoreWriteError,
)

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
# Of every kind of error that the service layer tells of.
EXAMPLES: list[Exception] = [
    InvalidRequestError([Violation("texts", "has none")]),
    TextTooLongError(0, 600, 512),
    NotFoundError("item", "1", "item '1' is not in the catalogue"),
    NotFoundError("user", "1", "user '1' has no events"),
    *(PreconditionError(reason, "vector", "no") for reason in (Reason.WRONG_DIMENSION, Reason.REVISION_NOT_REACHED)),
    *(UnauthenticatedError(reason, "no") for reason in (Reason.KEY_MISSING, Reason.KEY_INVALID)),
    *(ForbiddenError(reason, "no") for reason in (Reason.ROLE_TOO_LOW, Reason.ID_OUTSIDE_PREFIX)),
    OverloadedError("much", 1.0),
    StoreOverloadedError("much", 1.0),
    *(
        ExhaustedError(reason, "much", 1.0)
        for reason in (Reason.OVERLOADED, Reason.TOO_MANY_CALLS, Reason.RATE_LIMITED, Reason.KEY_CHECKS_FULL)
    ),
    LateError("late"),
    DeadlineError("late"),
    StoreExpiredError("late"),
    *(UnavailableError(reason, "not now", 1.0) for reason in (Reason.STARTING, Reason.DRAINING)),
    StoppedError("stopping"),
    StoreWriteError("full"),
    StoreReadError("unreadable"),
    StoreDamagedError("damaged"),
    NotImplementedError(),
    ZeroDivisionError("a bug"),
]


def rows() -> dict[str, str]:
    """Return the code of each reason, as the page has them."""
    text = PAGE.read_text(encoding="utf-8")
    return {reason: code for code, reason in re.findall(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \|", text, re.MULTILINE)}


def told(error: Exception) -> tuple[Status, dict[str, object]]:
    status = ErrorTeller().told_of(error, "recwire.v1.RecommenderService/Embed")
    kinds = {kind.DESCRIPTOR.full_name: kind for kind in DETAILS}
    details = {}
    for packed in status.details:
        kind = kinds[packed.TypeName()]
        details[kind.__name__] = kind.FromString(packed.value)
    return status, details


def test_the_page_has_every_reason():
    """And none that there is not."""
    assert set(rows()) == set(Reason)


def test_every_reason_has_an_example_here():
    """So that the next test holds for all."""
    assert {told(error)[1]["ErrorInfo"].reason for error in EXAMPLES} == set(Reason)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: f"{type(error).__name__}-{getattr(error, 'reason', '')}")
def test_an_error_is_told_as_the_page_says(error: Exception):
    """Its code, its domain; and where it is to be tried again, when."""
    status, details = told(error)
    info = details["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.domain == "recwire"
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    assert rows()[info.reason] == code.name
    assert ("RetryInfo" in details) == (code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED))


def test_a_bug_is_told_by_its_incident_alone(caplog: pytest.LogCaptureFixture):
    """Nothing of it reaches the caller; the log has the cause under the id that the caller has."""
    status, _ = told(ZeroDivisionError("a secret of the server"))
    assert "secret" not in str(status)
    (incident_id,) = re.findall(r"under incident ([0-9a-f]{12})", status.message)
    assert incident_id in caplog.text
    assert "a secret of the server" in caplog.text
