"""A server that keeps what it gets in dictionaries, and refuses, pauses or dies where a test says so."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Set
from concurrent import futures
from typing import NoReturn, Self

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

from recwire.v1.catalog_service_pb2 import ImportItemsRequest, ImportItemsResponse, ItemError
from recwire.v1.catalog_service_pb2_grpc import CatalogServiceServicer, add_CatalogServiceServicer_to_server
from recwire.v1.event_pb2 import Event
from recwire.v1.item_pb2 import Item
from recwire.v1.recommender_service_pb2 import UpdateUserRequest, UpdateUserResponse
from recwire.v1.recommender_service_pb2_grpc import (
    RecommenderServiceServicer,
    add_RecommenderServiceServicer_to_server,
)


class RecordingServer(CatalogServiceServicer, RecommenderServiceServicer):
    """Keeps items by id, and each user's events by event id in the order in which they came.

    refused: item ids that are not taken. dies_after: how many messages it acknowledges before it stops; the
    next one is kept and not acknowledged. pauses: how many messages it first answers with UNAVAILABLE and
    RetryInfo.
    """

    def __init__(self, refused: Set[str] = frozenset(), dies_after: int | None = None, pauses: int = 0) -> None:
        self.items: dict[str, Item] = {}
        self.events: dict[str, dict[str, Event]] = defaultdict(dict)
        self.message_sizes: list[int] = []
        self.overlapping_users: set[str] = set()
        self.refused, self.dies_after, self.pauses = refused, dies_after, pauses
        self._lock = threading.Lock()
        self._users_in_flight: set[str] = set()

    def __enter__(self) -> Self:
        self._server = grpc.server(futures.ThreadPoolExecutor(20))
        add_CatalogServiceServicer_to_server(self, self._server)
        add_RecommenderServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.stop(None).wait()

    def ImportItems(
        self, requests: Iterator[ImportItemsRequest], context: grpc.ServicerContext
    ) -> Iterator[ImportItemsResponse]:
        imported = 0
        for request in requests:
            self._pause(context)
            taken = [item for item in request.items if item.item_id not in self.refused]
            errors = [
                ItemError(item_id=item.item_id, field="title", message="is refused")
                for item in request.items
                if item.item_id in self.refused
            ]
            with self._lock:
                self.items.update((item.item_id, item) for item in taken)
            self._acknowledge(len(request.items), context)
            imported += len(taken)
            yield ImportItemsResponse(imported_count=imported, errors=errors)

    def UpdateUser(self, request: UpdateUserRequest, context: grpc.ServicerContext) -> UpdateUserResponse:
        self._pause(context)
        faults = {
            f"events[{number}].item_id": "is refused"
            for number, event in enumerate(request.events)
            if event.item_id in self.refused
        }
        if faults:
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, _bad_request(faults))
        with self._lock:
            if request.user_id in self._users_in_flight:
                self.overlapping_users.add(request.user_id)
            self._users_in_flight.add(request.user_id)
            known = self.events[request.user_id]
            duplicates = [event.event_id for event in request.events if event.event_id in known]
            known.update((event.event_id, event) for event in request.events if event.event_id not in known)
        self._acknowledge(len(request.events), context)
        with self._lock:
            self._users_in_flight.discard(request.user_id)
        pending = {event.item_id for event in request.events} - self.items.keys()
        return UpdateUserResponse(
            applied_count=len(request.events) - len(duplicates),
            duplicate_event_ids=duplicates,
            pending_item_ids=sorted(pending),
        )

    def order(self) -> dict[str, list[str]]:
        """Return each user's event ids in the order in which they came."""
        return {user_id: list(events) for user_id, events in self.events.items()}

    def _pause(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            paused, self.pauses = self.pauses > 0, self.pauses - 1
        if paused:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(10)
            _abort(context, grpc.StatusCode.UNAVAILABLE, retry)

    def _acknowledge(self, size: int, context: grpc.ServicerContext) -> None:
        with self._lock:
            self.message_sizes.append(size)
            dies = self.dies_after is not None and len(self.message_sizes) > self.dies_after
        if dies:
            self._server.stop(None)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going down")


def _bad_request(faults: dict[str, str]) -> error_details_pb2.BadRequest:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=path, description=description)
        for path, description in faults.items()
    ]
    return error_details_pb2.BadRequest(field_violations=violations)


def _abort(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    detail: error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> NoReturn:
    packed = Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=code.value[0], message="not taken", details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, "not taken")
