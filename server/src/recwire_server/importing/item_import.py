"""Items into the catalogue, over one stream."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import grpc

from recwire.v1.catalog_service_pb2 import ImportItemsRequest, ImportItemsResponse
from recwire_server.importing import ServerError
from recwire_server.importing.call import Backoff, Refusal
from recwire_server.importing.item import ItemLine
from recwire_server.importing.report import Report

MAX_BATCH_SIZE = 256  # the contract's bound
MAX_BATCH_BYTES = 2**20  # well under the contract's 4 MiB
MAX_ITEM_BYTES = 4 * 2**20  # alone in a request, the contract's bound
MAX_FRAME_BYTES = 6  # what a request adds to an item: its tag and length
MAX_UNANSWERED = 4  # one being embedded while the next ones travel; more would only be sent again after a break
ANSWER_TIMEOUT_S = 300.0  # four batches of the longest items, embedded on a slow machine

Batch = dict[str, ItemLine]  # by item id
Stream = grpc.aio.StreamStreamCall[ImportItemsRequest, ImportItemsResponse]


class ImportItemsMethod(Protocol):
    """The stub's CatalogService.ImportItems."""

    def __call__(self) -> Stream: ...


async def import_items(method: ImportItemsMethod, items: Iterable[ItemLine], report: Report, patience_s: float) -> None:
    """Send the items in order and report every answer.

    After a break, what was not answered is sent again on a new stream: items replace themselves. Raises
    ServerError when the server stays away for `patience_s`, or refuses the stream.
    """
    batches = _batches(items, report)
    unanswered: deque[Batch] = deque()
    backoff = Backoff(patience_s)
    while True:
        try:
            await _send(method(), batches, unanswered, report, backoff)
            return
        except grpc.aio.AioRpcError as error:
            await backoff.after(Refusal.of(error))
        except _BrokenStreamError:
            await backoff.after(Refusal(grpc.StatusCode.UNAVAILABLE, "the stream broke", {}, None))


class _BrokenStreamError(Exception):
    """A stream took no more messages, and will not tell why."""


async def _send(
    stream: Stream, batches: Iterator[Batch], unanswered: deque[Batch], report: Report, backoff: Backoff
) -> None:
    """Send what is unanswered, then the rest; return once everything is answered."""
    sent = 0
    window = 1  # until the first answer: a stream that is refused says why to a read, but not to a write
    try:
        while True:
            while sent < window:
                if sent == len(unanswered):
                    new = next(batches, None)
                    if new is None:
                        break
                    unanswered.append(new)
                await _write(stream, unanswered[sent])
                sent += 1
            if not unanswered:
                break
            _take(await _answer(stream), unanswered.popleft(), report)
            sent -= 1
            window = MAX_UNANSWERED
            backoff.succeeded()
        await stream.done_writing()
        await stream.read()  # lets the server end the call
    finally:
        stream.cancel()


async def _write(stream: Stream, batch: Batch) -> None:
    try:
        await stream.write(ImportItemsRequest(items=[line.item for line in batch.values()]))
    except asyncio.InvalidStateError:
        pass  # the stream has ended, and reading the answer tells why
    except grpc.aio.AioRpcError as error:
        # grpc.aio replaces the server's status by an INTERNAL of its own here.
        raise _BrokenStreamError from error


async def _answer(stream: Stream) -> ImportItemsResponse:
    try:
        answer = await asyncio.wait_for(stream.read(), ANSWER_TIMEOUT_S)
    except TimeoutError as error:
        raise ServerError(f"the server did not answer for {ANSWER_TIMEOUT_S:g} s") from error
    if not isinstance(answer, ImportItemsResponse):
        raise ServerError("the server ended the import without an answer to every batch")
    return answer


def _take(answer: ImportItemsResponse, batch: Batch, report: Report) -> None:
    reasons: dict[int, list[str]] = {}
    first_line = next(iter(batch.values())).line
    for error in answer.errors:
        known = batch.get(error.item_id)
        place = f"{error.field}: " if error.field else ""
        reasons.setdefault(known.line if known else first_line, []).append(f"{place}{error.message}")
    report.answered += len(batch)
    report.imported += len(batch) - len(reasons)
    report.same_text_item_ids.update((one.item_id, one.same_text_item_id) for one in answer.duplicates)
    for line, said in reasons.items():
        report.refuse(line, "; ".join(said))


def _batches(items: Iterable[ItemLine], report: Report) -> Iterator[Batch]:
    """Yield the items in order, in batches that a request holds, each id once; refuse those too large."""
    batch: Batch = {}
    batch_bytes = 0
    item_ids: set[str] = set()
    for line in items:
        item_id, size_bytes = line.item.item_id, line.item.ByteSize() + MAX_FRAME_BYTES
        if size_bytes > MAX_ITEM_BYTES:
            report.refuse(line.line, f"the item has {size_bytes:,} bytes; a request holds {MAX_ITEM_BYTES:,}")
            continue
        full = len(batch) == MAX_BATCH_SIZE or batch_bytes + size_bytes > MAX_BATCH_BYTES
        if batch and (full or item_id in batch):
            yield batch
            batch, batch_bytes = {}, 0
        batch[item_id] = line
        batch_bytes += size_bytes
        report.duplicates += item_id in item_ids
        item_ids.add(item_id)
    if batch:
        yield batch
