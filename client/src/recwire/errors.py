"""What a call can raise, told apart by what the caller should do.

    RecwireError
    |- FixRequestError             the same request will fail again
    |  |- InvalidArgumentError     fields break their bounds: `violations` names them
    |  |- MessageTooLargeError     the request, or its answer, is larger than a message may be
    |  |- NotFoundError            the item or the user asked for is unknown
    |  |- FailedPreconditionError  a vector of another dimension, a revision of another deployment
    |  |- UnauthenticatedError     who calls is not known
    |  |- PermissionDeniedError    who calls may not do this
    |  `- UnimplementedError       the server does not serve this
    |- TryLaterError               the same request may succeed: wait `retry_after_s`
    |  |- UnavailableError         not reachable, starting or draining
    |  |- ResourceExhaustedError   the server's queue is full, or a limit is used up
    |  `- DeadlineExceededError    no answer in time; a write may have happened
    |- ServerFaultError            the server's fault: the message has the incident id that its log has
    `- CallCancelledError          the server, or closing the client, gave the call up

The client raises each from the `grpc.RpcError` behind it. A task that is cancelled raises
`asyncio.CancelledError`, as everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from recwire.v1.stream_pb2 import StreamError

# What gRPC's asyncio client says of a stream that the server ended while it was sent to; the server's own word is lost.
LOST_STATUS = "Internal error from Core"
STATUS_DETAILS_KEY = "grpc-status-details-bin"  # where gRPC carries a google.rpc.Status, in every language


@dataclass(frozen=True)
class FieldViolation:
    """What is wrong with the request.

    field: the path of the field at fault, such as `events[3].item_id`; for a limit, whose limit it is.
    """

    field: str
    description: str


@dataclass(frozen=True)
class ErrorStatus:
    """A call's outcome, with the details that came with it."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None


class RecwireError(Exception):
    """The root.

    code: the gRPC status. message: for people. reason: for programs, such as `ITEM_NOT_FOUND`; empty if the
    server gave none. violations: the fields at fault; empty where it is not about fields.
    """

    def __init__(self, status: ErrorStatus) -> None:
        super().__init__(status)
        self.code = status.code
        self.message = status.message
        self.reason = status.reason
        self.violations = status.violations

    def __str__(self) -> str:
        return self.message


class FixRequestError(RecwireError):
    """The same request will fail again."""


class InvalidArgumentError(FixRequestError):
    """Fields break their bounds: `violations` names every one of them."""


class MessageTooLargeError(FixRequestError):
    """The request is larger than the server takes (4 MiB), or its answer larger than this client takes."""


class NotFoundError(FixRequestError):
    """The item or the user asked for is unknown."""


class FailedPreconditionError(FixRequestError):
    """The request does not fit the server's state or model."""


class UnauthenticatedError(FixRequestError):
    """Who calls is not known."""


class PermissionDeniedError(FixRequestError):
    """Who calls may not do this."""


class UnimplementedError(FixRequestError):
    """The server does not serve this."""


class TryLaterError(RecwireError):
    """The same request may succeed later.

    retry_after_s: how long to wait; None if the server did not say.
    """

    def __init__(self, status: ErrorStatus) -> None:
        super().__init__(status)
        self.retry_after_s = status.retry_after_s


class UnavailableError(TryLaterError):
    """The server is not reachable, starting or draining."""


class ResourceExhaustedError(TryLaterError):
    """The server's queue is full, it cannot meet the deadline, or a limit is used up."""


class DeadlineExceededError(TryLaterError):
    """No answer came in time. A write may have happened."""


class ServerFaultError(RecwireError):
    """The server's fault; or a status that it has no business to send."""


class CallCancelledError(RecwireError):
    """The server, or closing the client, gave the call up."""


ERROR_OF_CODE: dict[grpc.StatusCode, type[RecwireError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
}


def from_rpc_error(error: grpc.RpcError) -> RecwireError:
    """Return the error to raise in place of gRPC's own."""
    code, message = error.code(), error.details() or ""
    details = _details(error)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not details and "larger than max" in message:
        # gRPC itself refuses a message by its size, under the code that otherwise means "try later".
        return MessageTooLargeError(ErrorStatus(code, message))
    if code is grpc.StatusCode.INTERNAL and not details and message == LOST_STATUS:
        return UnavailableError(ErrorStatus(code, "the server ended the stream"))
    status = ErrorStatus(
        code, message, _reason(details), tuple(_violations(details)), retry_after_s=_retry_after_s(details)
    )
    return ERROR_OF_CODE.get(code, ServerFaultError)(status)


def from_stream_error(error: StreamError) -> RecwireError:
    """Return the error to raise for one message of a stream."""
    code = next((code for code in grpc.StatusCode if code.value[0] == error.code), grpc.StatusCode.UNKNOWN)
    violations = tuple(FieldViolation(field, error.message) for field in error.fields)
    retry_after_s = error.retry_delay.seconds + error.retry_delay.nanos / 1e9 if error.HasField("retry_delay") else None
    status = ErrorStatus(code, error.message, error.reason, violations, retry_after_s)
    return ERROR_OF_CODE.get(code, ServerFaultError)(status)


def no_answer(wait_s: float) -> DeadlineExceededError:
    """Return the error to raise where an answer did not come within wait_s."""
    return DeadlineExceededError(ErrorStatus(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {wait_s:g} s"))


def ended_early() -> ServerFaultError:
    """Return the error to raise where a stream ended without an answer to every message."""
    return ServerFaultError(ErrorStatus(grpc.StatusCode.UNKNOWN, "the server ended the stream before its last answer"))


def _details(error: grpc.RpcError) -> list[Message]:
    """The google.rpc messages that came with an error, those of unknown types left out."""
    kinds = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RetryInfo,
    )
    found: list[Message] = []
    metadata = cast(Iterable[tuple[str, bytes]], error.trailing_metadata() or ())
    for key, value in metadata:
        if key != STATUS_DETAILS_KEY:
            continue
        try:
            for packed in status_pb2.Status.FromString(value).details:
                found += [kind.FromString(packed.value) for kind in kinds if packed.Is(kind.DESCRIPTOR)]
        except DecodeError:
            pass  # a proxy's details: the code and the message still tell
    return found


def _reason(details: Iterable[Message]) -> str:
    return next((d.reason for d in details if isinstance(d, error_details_pb2.ErrorInfo)), "")


def _violations(details: Iterable[Message]) -> Iterable[FieldViolation]:
    for detail in details:
        if isinstance(detail, error_details_pb2.BadRequest):
            for violation in detail.field_violations:
                yield FieldViolation(violation.field, violation.description)
        elif isinstance(detail, (error_details_pb2.PreconditionFailure, error_details_pb2.QuotaFailure)):
            for violation in detail.violations:
                yield FieldViolation(violation.subject, violation.description)


def _retry_after_s(details: Iterable[Message]) -> float | None:
    delays = (d.retry_delay for d in details if isinstance(d, error_details_pb2.RetryInfo))
    return next((delay.seconds + delay.nanos / 1e9 for delay in delays), None)
