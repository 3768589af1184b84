"""Errors to gRPC status codes, in one table."""

import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc.status_pb2 import Status

from recwire.v1.stream_pb2 import StreamError
from recwire_server.encoder import DeadlineError, OverloadedError, StoppedError, TextError, TextTooLongError
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
from recwire_server.store import (
    StoreDamagedError,
    StoreError,
    StoreExpiredError,
    StoreOverloadedError,
    StoreReadError,
)

logger = logging.getLogger(__name__)

DOMAIN = "recwire"
# A store that cannot write (a full disk, say) needs a person: asking sooner only adds load.
STORE_RETRY_DELAY_S = 5.0
# Status and details travel in HTTP/2 trailers, which clients bound at 8 KiB: what does not fit would be lost whole.
MAX_VIOLATIONS = 16
MAX_MESSAGE_BYTES = 1_000  # as it travels: gRPC writes each byte of a character beyond ASCII as three (%E6)
MAX_FIELD_BYTES = 100
MAX_BYTE_COST = 3  # so that short messages, which refusals have, need not be looked through
STOPPED_RETRY_DELAY_S = 1.0  # another server is free at once


def status_of(error: Exception) -> Status | None:
    """Return what a caller is told of an error; None for one that is our bug."""
    match error:
        case InvalidRequestError():
            bad_request = _bad_request(error.violations)
            message, count = str(error), len(error.violations)
            if count > MAX_VIOLATIONS:  # in front: the end may be cut off
                message = f"{count:,} violations, of which the first {MAX_VIOLATIONS} are named: {message}"
            return _status(grpc.StatusCode.INVALID_ARGUMENT, error.reason, message, bad_request)
        case TextError():
            reason = Reason.TEXT_TOO_LONG if isinstance(error, TextTooLongError) else InvalidRequestError.reason
            bad_request = _bad_request([Violation(f"texts[{error.text_index}]", str(error))])
            return _status(grpc.StatusCode.INVALID_ARGUMENT, reason, str(error), bad_request)
        case NotFoundError():
            resource = details_pb.ResourceInfo(
                resource_type=error.resource_type, resource_name=error.resource_name, description=str(error)
            )
            return _status(grpc.StatusCode.NOT_FOUND, error.reason, str(error), resource)
        case PreconditionError():
            violation = details_pb.PreconditionFailure.Violation(
                type=error.reason, subject=error.subject, description=str(error)
            )
            failure = details_pb.PreconditionFailure(violations=[violation])
            return _status(grpc.StatusCode.FAILED_PRECONDITION, error.reason, str(error), failure)
        case UnauthenticatedError():
            return _status(grpc.StatusCode.UNAUTHENTICATED, error.reason, str(error))
        case ForbiddenError():
            details = [_bad_request([Violation(error.field, str(error))])] if error.field else []
            return _status(grpc.StatusCode.PERMISSION_DENIED, error.reason, str(error), *details)
        case NotImplementedError():  # of the generated servicers
            message = "this version does not serve this rpc yet"
            return _status(grpc.StatusCode.UNIMPLEMENTED, Reason.NOT_SERVED_YET, message)
        case UnavailableError():
            retry = _retry_info(error.retry_delay_s)
            return _status(grpc.StatusCode.UNAVAILABLE, error.reason, str(error), retry)
        case ExhaustedError():
            told: list[Message] = [_retry_info(error.retry_delay_s)]
            if error.quota_subject:
                quota = details_pb.QuotaFailure.Violation(subject=error.quota_subject, description=str(error))
                told.append(details_pb.QuotaFailure(violations=[quota]))
            return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, error.reason, str(error), *told)
        case OverloadedError() | StoreOverloadedError():
            retry = _retry_info(error.retry_delay_s)
            return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVERLOADED, str(error), retry)
        case LateError() | DeadlineError() | StoreExpiredError():
            return _status(grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED, str(error))
        case StoppedError():
            retry = _retry_info(STOPPED_RETRY_DELAY_S)
            return _status(grpc.StatusCode.UNAVAILABLE, Reason.DRAINING, str(error), retry)
        case StoreDamagedError():
            return _status(grpc.StatusCode.DATA_LOSS, Reason.STORE_DAMAGED, str(error))
        case StoreError():
            reason = Reason.STORE_READ_FAILED if isinstance(error, StoreReadError) else Reason.STORE_WRITE_FAILED
            retry = _retry_info(STORE_RETRY_DELAY_S)
            return _status(grpc.StatusCode.UNAVAILABLE, reason, str(error), retry)
    return None


class ErrorTeller:
    """Tells callers of errors, and counts what it has told. Belongs to the event loop; counts may be read on any
    thread."""

    def __init__(self) -> None:
        self.reason_counts: Counter[str] = Counter()

    def told_of(self, error: Exception, rpc: str) -> Status:
        """Return what a caller is told of any error: of our bug, the id under which the log has the cause."""
        status = status_of(error)
        if status is None:
            incident_id = uuid.uuid4().hex[:12]
            told = {"incident_id": incident_id, "rpc": rpc}
            logger.error("incident %s in %s", incident_id, rpc, exc_info=error, extra=told)
            message = f"internal error; the server's log has the cause under incident {incident_id}"
            status = _status(grpc.StatusCode.INTERNAL, Reason.INTERNAL, message)
        self.reason_counts[_reason(status)] += 1
        return status

    def stream_error(self, error: Exception, rpc: str) -> StreamError:
        """Return what a caller is told of an error of one message of a stream: the same as `told_of`."""
        status = self.told_of(error, rpc)
        told = StreamError(code=status.code, message=status.message)
        info, retry = details_pb.ErrorInfo(), details_pb.RetryInfo()
        bad_request, precondition = details_pb.BadRequest(), details_pb.PreconditionFailure()
        for detail in status.details:
            if detail.Unpack(info):
                told.reason = info.reason
            elif detail.Unpack(bad_request):
                told.fields.extend(violation.field for violation in bad_request.field_violations)
            elif detail.Unpack(precondition):
                told.fields.extend(violation.subject for violation in precondition.violations)
            elif detail.Unpack(retry):
                told.retry_delay.CopyFrom(retry.retry_delay)
        return told


def _reason(status: Status) -> str:
    """Return the reason in the ErrorInfo, which `_status` puts last."""
    reason: str = details_pb.ErrorInfo.FromString(status.details[-1].value).reason
    return reason


def _status(code: grpc.StatusCode, reason: Reason, message: str, *details: Message) -> Status:
    info = details_pb.ErrorInfo(reason=reason, domain=DOMAIN)
    message = _cut(message, MAX_MESSAGE_BYTES, lambda byte: 1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3)
    return Status(code=code.value[0], message=message, details=[_packed(detail) for detail in (*details, info)])


def _cut(text: str, limit: int, cost: Callable[[int], int]) -> str:
    """Return as much of a text as its bytes cost no more than the limit, and "..." if that is not all of it."""
    data = text.encode()
    if MAX_BYTE_COST * len(data) <= limit:
        return text
    for end, spent in enumerate(accumulate(map(cost, data))):
        if spent > limit:
            return f"{data[:end].decode(errors='ignore')}..."
    return text


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def _bad_request(violations: Sequence[Violation]) -> details_pb.BadRequest:
    return details_pb.BadRequest(
        field_violations=[
            details_pb.BadRequest.FieldViolation(
                field=_cut(violation.field, MAX_FIELD_BYTES, lambda _: 1), description=violation.description
            )
            for violation in violations[:MAX_VIOLATIONS]
        ]
    )


def _retry_info(delay_s: float) -> details_pb.RetryInfo:
    fraction, seconds = math.modf(delay_s)
    return details_pb.RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(fraction * 1e9)))
