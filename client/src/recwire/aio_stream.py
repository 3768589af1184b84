"""Streams, for asyncio: `recwire.stream`, with `await`."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any

import grpc

from recwire import errors
from recwire.stream import Exchange, Request


async def each(call: Any, wait_s: float) -> AsyncGenerator[Any, None]:
    """Yield the messages of a call that streams them, waiting at most wait_s for each; raises RecwireError."""
    try:
        while (answer := await _next(asyncio.ensure_future(anext(aiter(call), None)), wait_s)) is not None:
            yield answer
    finally:
        call.cancel()


async def exchanges(
    method: Callable[[AsyncIterator[Request]], Any],
    requests: AsyncIterable[Request],
    ahead: int,
    wait_s: Callable[[Request], float],
) -> "AsyncGenerator[Exchange[Request, Any], None]":
    """Yield each request with its answer, in order; raises RecwireError where an answer does not come.

    requests is read up to `ahead` requests ahead of what is yielded. What has been answered is yielded before more is
    read.
    """
    outgoing: asyncio.Queue[Request | None] = asyncio.Queue()
    call = method(_until_none(outgoing))
    unanswered: deque[Request] = deque()
    reading: asyncio.Future[Any] | None = None  # the answer to the first of them
    room = 1  # until the first answer: a server that refuses the stream is not sent more, see errors.LOST_STATUS

    def read() -> "asyncio.Future[Any]":
        return asyncio.ensure_future(anext(aiter(call), None))

    async def answered() -> "Exchange[Request, Any]":
        nonlocal reading, room
        assert reading is not None, "something is unanswered"
        request = unanswered.popleft()
        answer = await _next(reading, wait_s(request))
        if answer is None:
            raise errors.ended_early()
        reading, room = read() if unanswered else None, ahead
        return Exchange(request, answer)

    try:
        async for request in requests:
            outgoing.put_nowait(request)
            unanswered.append(request)
            reading = reading or read()
            while reading is not None and (len(unanswered) == room or reading.done()):
                yield await answered()
        outgoing.put_nowait(None)
        while unanswered:
            yield await answered()
    finally:
        call.cancel()
        if reading is not None:
            await asyncio.gather(reading, return_exceptions=True)


async def _next(reading: "asyncio.Future[Any]", wait_s: float) -> Any:
    """Return what is read, None at the end; raises RecwireError, also where nothing comes within wait_s."""
    try:
        async with asyncio.timeout(wait_s):
            return await reading
    except TimeoutError as error:
        raise errors.no_answer(wait_s) from error
    except grpc.RpcError as error:
        raise errors.from_rpc_error(error) from error


async def _until_none(messages: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (message := await messages.get()) is not None:
        yield message
