"""Events to their users, each user's in the order of their times."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

import grpc

from recwire.v1.recommender_service_pb2 import UpdateUserRequest, UpdateUserResponse
from recwire_server.importing.call import Method, Refusal, call_patiently
from recwire_server.importing.event import EventLine
from recwire_server.importing.report import Report

MAX_CALL_SIZE = 256  # the contract's bound
MAX_CALL_BYTES = 2**20  # well under the contract's 4 MiB
MAX_IN_FLIGHT = 16  # enough for the server to write many calls' events to disk at once
MAX_BUFFERED = 200_000  # events, about 150 MB; the more, the fuller each user's calls
MAX_BUFFERED_BYTES = 2**27  # 128 MiB: events may hold long texts
EVENT_PATH = re.compile(r"events\[(\d+)\]\.?(.*)")


class EventImport:
    """Gathers events by user, and sends them: several users at once, at most one call for each of them.

    A user's events go in the order of their times, those without one last, as far as the buffer reaches: the
    file may be ordered by time or by user; in one that is not, events further apart than `max_buffered` can
    be out of order, and the report says how many are. Owned by the task that runs it.
    """

    def __init__(
        self,
        method: Method[UpdateUserRequest, UpdateUserResponse],
        report: Report,
        patience_s: float,
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        self._method, self._report, self._patience_s = method, report, patience_s
        self._max_buffered = max_buffered
        self._buffer: dict[str, list[EventLine]] = defaultdict(list)
        self._newest_ns: dict[str, int] = {}
        self._late = 0

    async def run(self, events: Iterable[EventLine]) -> None:
        """Send all events and report every answer. Raises ServerError as `call_patiently` does."""
        count = size_bytes = 0
        for line in events:
            self._buffer[line.user_id].append(line)
            count += 1
            size_bytes += line.event.ByteSize()
            if count >= self._max_buffered or size_bytes >= MAX_BUFFERED_BYTES:
                await self._flush()
                count = size_bytes = 0
        await self._flush()
        if self._late:
            self._report.notes.append(
                f"{self._late:,} events went in after newer ones of the same user: sort the file by time"
            )

    async def _flush(self) -> None:
        users = iter(self._buffer.items())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(MAX_IN_FLIGHT):
                    group.create_task(self._send_users(users))
        except ExceptionGroup as failures:
            # One reason is enough: the others follow from the same server or the same --strict.
            raise failures.exceptions[0] from None
        self._buffer.clear()

    async def _send_users(self, users: Iterator[tuple[str, list[EventLine]]]) -> None:
        for user_id, lines in users:
            lines.sort(key=lambda line: (line.time_ns is None, line.time_ns or 0))
            self._count_late(user_id, lines)
            for call in _calls(lines):
                await self._send(user_id, call)

    async def _send(self, user_id: str, lines: list[EventLine]) -> None:
        while lines:
            request = UpdateUserRequest(user_id=user_id, events=[line.event for line in lines])
            try:
                answer = await call_patiently(self._method, request, self._patience_s)
            except grpc.aio.AioRpcError as error:
                lines = self._without_refused(lines, Refusal.of(error))
                continue
            self._report.answered += len(lines)
            self._report.imported += answer.applied_count
            self._report.duplicates += len(answer.duplicate_event_ids)
            self._report.pending_item_ids.update(answer.pending_item_ids)
            return

    def _without_refused(self, lines: list[EventLine], refusal: Refusal) -> list[EventLine]:
        """Return the events that the server found no fault with; none where the fault is not one event's."""
        reasons: dict[int, list[str]] = defaultdict(list)
        for path, description in refusal.fields.items():
            place = EVENT_PATH.match(path)
            if place and int(place[1]) < len(lines):
                reasons[int(place[1])].append(f"{place[2] or 'event'}: {description}")
        if not reasons:
            said = [f"{path}: {description}" for path, description in refusal.fields.items()]
            reasons = {number: said or [refusal.message] for number in range(len(lines))}
        for number, said in sorted(reasons.items()):
            self._report.refuse(lines[number].line, "; ".join(said))
        return [line for number, line in enumerate(lines) if number not in reasons]

    def _count_late(self, user_id: str, lines: list[EventLine]) -> None:
        times = [line.time_ns for line in lines if line.time_ns is not None]
        newest_ns = self._newest_ns.get(user_id)
        if newest_ns is not None:
            self._late += sum(time_ns < newest_ns for time_ns in times)
        if times:
            self._newest_ns[user_id] = max(times[-1], newest_ns or times[-1])


def _calls(lines: Iterable[EventLine]) -> Iterator[list[EventLine]]:
    """Yield the events in order, in lists that a request holds."""
    call: list[EventLine] = []
    call_bytes = 0
    for line in lines:
        size_bytes = line.event.ByteSize()
        if call and (len(call) == MAX_CALL_SIZE or call_bytes + size_bytes > MAX_CALL_BYTES):
            yield call
            call, call_bytes = [], 0
        call.append(line)
        call_bytes += size_bytes
    if call:
        yield call
