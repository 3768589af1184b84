"""Streams, for ordinary code: what comes is waited for no longer than a time each, what goes out is some ahead of it.

gRPC's own deadline is for a whole stream, which takes as long as its source, or its reader, does.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from recwire import errors

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

# Of a stream that only comes: the next is on its way while one is looked at.
READ_AHEAD = 2


@dataclass(frozen=True)
class Exchange(Generic[Request, Answer]):
    """A message of a stream, and the answer to it."""

    request: Request
    answer: Answer


def each(call: Any, wait_s: float) -> Generator[Any, None, None]:
    """Yield the messages of a call that streams them, waiting at most wait_s for each; raises RecwireError."""
    reader = _Reader(call, READ_AHEAD)
    try:
        while (answer := reader.next(wait_s)) is not None:
            yield answer
    finally:
        reader.close()


def exchanges(
    method: Callable[[Iterator[Request]], Any],
    requests: Iterable[Request],
    ahead: int,
    wait_s: Callable[[Request], float],
) -> "Generator[Exchange[Request, Any], None, None]":
    """Yield each request with its answer, in order; raises RecwireError where an answer does not come.

    requests is read on the caller's thread, up to `ahead` requests ahead of what is yielded: gRPC would read it on a
    thread of its own, and as far as the network takes it. What has been answered is yielded before more is read.
    """
    outgoing: SimpleQueue[Request | None] = SimpleQueue()
    reader = _Reader(method(iter(outgoing.get, None)), ahead)
    unanswered: deque[Request] = deque()

    def answered() -> "Exchange[Request, Any]":
        request = unanswered.popleft()
        answer = reader.next(wait_s(request))
        if answer is None:
            raise errors.ended_early()
        return Exchange(request, answer)

    try:
        for request in requests:
            outgoing.put(request)
            unanswered.append(request)
            while unanswered and (len(unanswered) == ahead or reader.has_next):
                yield answered()
        outgoing.put(None)
        while unanswered:
            yield answered()
    finally:
        outgoing.put(None)
        reader.close()


class _Reader:
    """Reads a call's messages on a thread of its own, at most `ahead` before they are taken; belongs to one caller."""

    def __init__(self, call: Any, ahead: int) -> None:
        self._call = call
        self._room = threading.Semaphore(ahead)
        self._incoming: SimpleQueue[Any] = SimpleQueue()  # messages; at last an error, or None
        threading.Thread(target=self._run, name="recwire-stream", daemon=True).start()

    @property
    def has_next(self) -> bool:
        """Whether next() would return at once."""
        return not self._incoming.empty()

    def next(self, wait_s: float) -> Any:
        """Return the next message, None after the last; raises RecwireError, also where none comes within wait_s."""
        try:
            answer = self._incoming.get(timeout=wait_s)
        except Empty as error:
            raise errors.no_answer(wait_s) from error
        self._room.release()
        if isinstance(answer, grpc.RpcError):
            raise errors.from_rpc_error(answer) from answer
        return answer

    def close(self) -> None:
        """End the call, and with it the thread."""
        self._call.cancel()
        self._room.release()

    def _run(self) -> None:
        try:
            while self._room.acquire():
                self._incoming.put(next(self._call))
        except StopIteration:
            self._incoming.put(None)
        except grpc.RpcError as error:
            self._incoming.put(error)
