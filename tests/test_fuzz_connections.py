"""Whatever comes on a connection, it is refused or answered, and the server goes on and keeps nothing of it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from footprint import Footprint, footprint, give_it_time, wait_until_let_go
from http2_caller import PREFACE, RawConnection, settings
from malformed_http2 import malformed_call, malformed_connection
from server_process import ServerProcess, hash_serving

SEED = 6
IN_FLIGHT = 64
WARM_UP = 2_500
# gRPC frees what a call held that was broken off a second or two later, and malloc keeps it for the next ones: attacks
# are made in rounds, and the memory of the first is to be enough for the others.
ROUND = 2_500
SETTLE_LOOKS = 8
CALLS_A_CONNECTION = 50
# What is answered to a call that breaks gRPC's rules; see docs/operating.md. What is not answered is reset.
STATUSES = {
    "0",  # OK: what is wrong does not matter
    "2",  # UNKNOWN: a header is missing, or the method is not POST
    "3",  # INVALID_ARGUMENT: the request does not parse
    "4",  # DEADLINE_EXCEEDED
    "12",  # UNIMPLEMENTED: no such rpc, or a compressed request
}


@dataclass(frozen=True)
class Attacked:
    """A server that has seen some of each already, and what it holds since."""

    server: ServerProcess
    before: Footprint

    def check(self) -> None:
        """Assert that the server has let go of all, and answers."""
        after = settled(self.server, self.before)
        assert after.resident_bytes < 1.5 * self.before.resident_bytes
        assert len(self.server.client.embed(["a lamp"]).vectors) == 1


def settled(server: ServerProcess, before: Footprint) -> Footprint:
    for _ in range(SETTLE_LOOKS):
        give_it_time(server.client)
    return wait_until_let_go(server, before)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server with the hash encoder in a process of its own, which ends in order."""
    with hash_serving(tmp_path_factory.mktemp("attacked"), drain_s=1) as server:
        server.client.embed(["a lamp"])
        before = footprint(server)
        asyncio.run(send_connections(server.address, range(WARM_UP)))
        asyncio.run(send_calls(server.address, range(WARM_UP)))
        yield Attacked(server, settled(server, before))
        assert server.terminate() == 0


async def send_connections(address: str, numbers: range) -> None:
    """Open the connections with these numbers, and wait until the server has closed each."""
    turns = asyncio.Semaphore(IN_FLIGHT)

    async def send(number: int) -> None:
        data = malformed_connection(SEED, number)
        async with turns, RawConnection(address) as connection:
            await connection.send(data)
            try:
                await connection.read_until_closed()
            except TimeoutError as error:
                shown = data[:2_000].hex()
                raise AssertionError(f"not closed: malformed_connection({SEED}, {number}): {shown}") from error

    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(send(number))


async def send_calls(address: str, numbers: range) -> Counter[str]:
    """Send the calls with these numbers; return how many were answered with which status, or reset."""
    turns, found = asyncio.Semaphore(IN_FLIGHT), Counter[str]()

    async def send(some: range) -> None:
        calls = {2 * place + 1: malformed_call(SEED, number, 2 * place + 1) for place, number in enumerate(some)}
        async with turns, RawConnection(address) as connection:
            await connection.send(PREFACE + settings() + b"".join(call.frames for call in calls.values()))
            await connection.read_until_ended(stream for stream, call in calls.items() if call.is_answered)
            answers = connection.answers
            assert answers.goaway is None, f"GOAWAY {answers.goaway} in {some}"
            for stream, number in zip(calls, some, strict=True):
                status = answers.headers.get(stream, {}).get("grpc-status")
                if status is None and not calls[stream].is_answered:
                    continue
                told = f"malformed_call({SEED}, {number}): {answers.headers.get(stream)}"
                assert status in STATUSES or (status is None and stream in answers.reset), told
                found[status or "reset"] += 1

    async with asyncio.TaskGroup() as tasks:
        for start in range(numbers.start, numbers.stop, CALLS_A_CONNECTION):
            tasks.create_task(send(numbers[start - numbers.start :][:CALLS_A_CONNECTION]))
    return found


@pytest.mark.timeout(400)
def test_ten_thousand_malformed_connections(attacked: Attacked):
    """No HTTP/2, broken frames, floods of them, resets in a row: each connection ends, and none disturbs another."""
    for start in range(0, 10_000, ROUND):
        asyncio.run(send_connections(attacked.server.address, range(start, start + ROUND)))
        attacked.check()


@pytest.mark.timeout(400)
def test_thirty_thousand_malformed_calls(attacked: Attacked):
    """Calls that break gRPC's rules on a connection that keeps HTTP/2's: each for itself is answered or reset."""
    found = asyncio.run(send_calls(attacked.server.address, range(30_000)))
    assert found.keys() == {*STATUSES, "reset"}
    attacked.check()
