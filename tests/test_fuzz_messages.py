"""Whatever requests say, they are answered as the contract has it, and leave nothing behind."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from footprint import footprint, wait_until_let_go
from fuzzed_request import FuzzedRequest, fuzzed_request
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from server_process import ServerProcess, hash_serving
from typer.testing import CliRunner

from recwire import Event, Item
from recwire_server.cli import app

SEED = 6
IN_FLIGHT = 64
STREAMS_THAT_GO_ON = {"EmbedStream", "UpdateUserStream"}  # after a request that is refused; ImportItems ends
STREAM_LENGTH = 50  # requests
CALL_TIMEOUT_S = 20.0  # of which Recommend waits for a min_revision to come
# Of no request's doing but its own; DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED and the like would be the server's.
CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}
INSIDE = ("Traceback", "site-packages", "recwire_server", ".py", "sqlite3", "incident")  # no caller's business
# So that more of the code is met: old events, decay, priors.
SETTINGS = {
    "decay_per_event": 0.9,
    "decay_half_life_s": 3_600.0,
    "repeat_window_s": 60.0,
    "max_history_events": 20,
    "popularity_weight": 0.5,
    "recency_weight": 0.1,
    # So that a busy machine refuses nothing.
    "max_queue_wait_s": 60.0,
    "max_standing_wait_s": 60.0,
}
KEPT_IDS = [f"kept{n}" for n in range(20)]


@pytest.mark.timeout(400)
def test_sixty_thousand_requests(tmp_path: Path):
    """Each is served or refused with a code and a reason for what is in it; afterwards the server holds no more than
    before, answers as before, and its data are sound."""
    fuzz(tmp_path, 60_000)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_million_requests(tmp_path: Path):
    """The same at length, with other requests."""
    fuzz(tmp_path, 1_000_000, first=60_000)


def fuzz(folder: Path, count: int, first: int = 0) -> None:
    with hash_serving(folder / "data", log=folder / "log", **SETTINGS) as server:
        fill(server)
        asyncio.run(send(server.address, range(first, first + 2_000)))  # whatever is made once is made now
        before, answers = footprint(server), kept_answers(server)
        asyncio.run(send(server.address, range(first, first + count)))
        after = wait_until_let_go(server, before)
        assert after.resident_bytes < 2 * before.resident_bytes
        assert kept_answers(server) == answers
        assert [list(answer.differing_user_ids) for answer in server.client.check_users()] == [[]]
        assert server.terminate() == 0
    assert (folder / "log").read_text() == ""
    checked = CliRunner().invoke(app, ["check", "--data-dir", str(folder / "data")])
    assert checked.exit_code == 0, checked.output


def fill(server: ServerProcess) -> None:
    """Write what fuzzed requests know of, and what none of them touches."""
    ids = [*(f"i{n}" for n in range(40)), *KEPT_IDS]
    server.client.upsert_items([Item(item_id=item_id, title=f"title {n}") for n, item_id in enumerate(ids)])
    for n in range(10):
        server.client.update_user(f"u{n}", [Event(event_id=f"e{m}", item_id=f"i{n + m}") for m in range(5)])
    server.client.update_user("kept", [Event(event_id=f"e{n}", item_id=KEPT_IDS[n]) for n in range(3)])


def kept_answers(server: ServerProcess) -> list[object]:
    """Return what the server says of what no fuzzed request touches. Not the scores, in which the others' events and
    time count too."""
    answer = server.client.recommend("kept", item_ids=KEPT_IDS, include_items=True, limit=len(KEPT_IDS))
    items = sorted((one.item for one in answer.recommendations), key=lambda item: item.item_id)
    return [items, server.client.get_user("kept"), *(server.client.get_item(item_id) for item_id in KEPT_IDS)]


@dataclass(frozen=True)
class Call:
    """One rpc with the requests that go to it: a stream's, or a single one."""

    requests: list[FuzzedRequest]

    async def send(self, channel: grpc.aio.Channel) -> None:
        """Send the requests, and look at each answer."""
        request = self.requests[0]
        try:
            if request.method.client_streaming:
                await self._stream(channel)
            elif request.method.server_streaming:
                async for _ in channel.unary_stream(request.path)(request.data, timeout=CALL_TIMEOUT_S):
                    pass
            else:
                await channel.unary_unary(request.path)(request.data, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            check_error(error, self.requests)

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        """Send the requests as a stream."""
        requests, answer_type = self.requests, GetMessageClass(self.requests[0].method.output_type)
        call = channel.stream_stream(requests[0].path)([request.data for request in requests], timeout=CALL_TIMEOUT_S)
        count = 0
        async for data in call:
            error = getattr(answer_type.FromString(data), "error", None)
            if error is not None and error.code:
                code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
                check_told(code, error.reason, error.message, requests[count : count + 1])
            count += 1
        assert count == len(requests), f"{count} answers to {len(requests)} requests, the first {requests[0]}"


def check_error(error: grpc.aio.AioRpcError, requests: list[FuzzedRequest]) -> None:
    """Assert that an error is one of the contract's."""
    details = (error.trailing_metadata() or grpc.aio.Metadata()).get("grpc-status-details-bin", b"")
    info = ErrorInfo()
    found = any(detail.Unpack(info) for detail in Status.FromString(details).details)
    assert found, f"{error}\n{requests[0]}"
    assert info.domain == "recwire", f"{error}\n{requests[0]}"
    check_told(error.code(), info.reason, error.details() or "", requests)


def check_told(code: grpc.StatusCode, reason: str, message: str, requests: list[FuzzedRequest]) -> None:
    told = f"{code} {reason} {message!r}\n" + "\n".join(map(str, requests[:3]))
    assert code in CODES, told
    assert reason.isupper(), told
    assert not any(word in message for word in INSIDE), told


async def send(address: str, numbers: Iterable[int]) -> None:
    """Send the requests with these numbers, some dozens of calls at a time; raise what the first of them finds."""
    calls = iter(calls_of(numbers))
    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as tasks:

        async def send_next() -> None:
            for call in calls:
                await call.send(channel)

        for _ in range(IN_FLIGHT):
            tasks.create_task(send_next())


def calls_of(numbers: Iterable[int]) -> Iterator[Call]:
    """Yield calls that together have the requests with these numbers; those to a stream share calls."""
    streams: dict[str, list[FuzzedRequest]] = {}
    for request in (fuzzed_request(SEED, number) for number in numbers):
        if request.method.name not in STREAMS_THAT_GO_ON:
            yield Call([request])
            continue
        stream = streams.setdefault(request.path, [])
        stream.append(request)
        if len(stream) == STREAM_LENGTH:
            yield Call(streams.pop(request.path))
    yield from (Call(stream) for stream in streams.values())
