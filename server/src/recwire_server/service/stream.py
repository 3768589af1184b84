"""A stream's requests in work: a few at a time, answered in order, each for itself."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from recwire_server.errors import UnavailableError

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

# What a stream has in work, read and not yet taken by the client: two requests keep the encoder's threads busy, while
# one is being read and one's answer travels.
MAX_IN_WORK = 4
# Beyond so many bytes of them no further request is read; the last one read may be 4 MiB itself.
MAX_IN_WORK_BYTES = 1024 * 1024


async def answer_in_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    refusal: Callable[[Exception], Response],
    *,
    max_in_work: int = MAX_IN_WORK,
) -> AsyncGenerator[Response, None]:
    """Yield the answer to each request, in order. The next request is read once there is room for it.

    Answering begins in the order of the requests, and at most max_in_work are being answered at a time. refusal: the
    answer to a request that cannot be read, or whose answer fails. Where the server drains, UnavailableError is raised
    once what is in work has been answered. What is in work when the generator is closed or
    cancelled is cancelled, and has ended when that returns.
    """
    in_work: deque[tuple[asyncio.Task[Response], int]] = deque()  # the answers to come, with their requests' bytes
    reading: asyncio.Task[Request | Exception | None] | None = None
    is_at_end = False
    drain: UnavailableError | None = None
    try:
        while True:
            has_room = len(in_work) < max_in_work and sum(size for _, size in in_work) < MAX_IN_WORK_BYTES
            if reading is None and has_room and not is_at_end:
                reading = asyncio.create_task(_read(requests))
            awaited = [task for task in (reading, in_work[0][0] if in_work else None) if task is not None]
            if not awaited:
                if drain is not None:
                    raise drain
                return
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading.done():
                request, reading = reading.result(), None
                if isinstance(request, UnavailableError):
                    request, drain = None, request
                is_at_end = request is None
                if request is not None:
                    size = 0 if isinstance(request, Exception) else request.ByteSize()
                    in_work.append((asyncio.create_task(_answer(request, answer, refusal)), size))
            if in_work and in_work[0][0].done():
                yield in_work[0][0].result()
                in_work.popleft()
    finally:
        tasks = [task for task in (reading, *(task for task, _ in in_work)) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(requests: AsyncIterator[Request]) -> Request | Exception | None:
    """Return the next request, or why it cannot be read; None at the end."""
    try:
        return await anext(requests, None)
    except Exception as error:
        return error


async def _answer(
    request: Request | Exception,
    answer: Callable[[Request], Awaitable[Response]],
    refusal: Callable[[Exception], Response],
) -> Response:
    if isinstance(request, Exception):
        return refusal(request)
    try:
        return await answer(request)
    except Exception as error:
        return refusal(error)
