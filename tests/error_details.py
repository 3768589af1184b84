"""What an error says: its code and its google.rpc details, as any client in any language gets them."""

from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

DETAILS = (
    error_details_pb2.BadRequest,
    error_details_pb2.ErrorInfo,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


@dataclass(frozen=True)
class ErrorDetails:
    """An error's code, its message, and its details by the name of their message."""

    code: grpc.StatusCode
    message: str
    details: dict[str, object] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        """The paths of the fields at fault."""
        return [violation.field for violation in self.details["BadRequest"].field_violations]


def error_of(error: grpc.RpcError) -> ErrorDetails:
    """Return what an error says; its status and its details agree."""
    metadata = dict(error.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found = {}
    for packed in status.details:
        for kind in DETAILS:
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    assert found["ErrorInfo"].domain == "recwire"
    assert found["ErrorInfo"].reason
    return ErrorDetails(error.code(), error.details(), found)
