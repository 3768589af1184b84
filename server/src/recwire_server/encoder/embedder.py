"""What callers await: texts become embeddings, each made once, however many requests ask for it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from math import inf

from recwire_server.encoder import (
    Embedding,
    Encoder,
    LongText,
    OverloadedError,
    Priority,
    Purpose,
    TextError,
    TokenizedText,
    Vector,
)
from recwire_server.encoder.batcher import Batcher, Job
from recwire_server.encoder.cache import CacheStats, EmbeddingCache
from recwire_server.encoder.embedding import kept_sequences, make_embedding
from recwire_server.queue_limit import retry_delay_s
from recwire_server.span import RecordSpan

# Tokenizing takes about 1 ms for this much text; more is done off the event loop.
MAX_INLINE_BYTES = 1_000
# A request of more text takes one core longer than about .3 s (256 titles take less): it runs as bulk work.
MAX_INTERACTIVE_BYTES = 16 * 1024
# Of a bulk request, so much is tokenized at a time: some 4 ms, and what several of them take turns with.
PIECE_BYTES, PIECE_SIZE = 8 * 1024, 32


class Embedder:
    """Makes embeddings off the event loop. The same text is answered from the cache, or made once for all who wait.

    encoder: the batcher's. observe_tokenizing: told how many seconds a call's texts took. record_span: told what a
    call waited for. Belongs to the event loop; usable while the batcher's block lasts.
    """

    def __init__(
        self,
        encoder: Encoder,
        batcher: Batcher,
        cache: EmbeddingCache,
        *,
        observe_tokenizing: Callable[[float], None] = lambda duration_s: None,
        record_span: RecordSpan | None = None,
    ) -> None:
        self._encoder = encoder
        self._batcher = batcher
        self._cache = cache
        self._in_flight: dict[bytes, _InFlight] = {}
        self._bulk_size = 0  # texts of requests that wait for room
        self._observe_tokenizing = observe_tokenizing
        self._record_span = record_span
        self._key_starts = {
            (purpose, long_text): blake2b(
                f"{encoder.model.version}\0{purpose.value}\0{long_text.value}\0".encode(), digest_size=16
            )
            for purpose in Purpose
            for long_text in LongText
        }

    @property
    def in_flight_size(self) -> int:
        """How many texts wait for the model or are in it."""
        return len(self._in_flight)

    @property
    def queue_size(self) -> int:
        """How many sequences wait for the model."""
        return self._batcher.queue_size

    @property
    def cache_stats(self) -> CacheStats:
        """What the cache has done so far."""
        return self._cache.stats

    async def embed(
        self,
        texts: Sequence[str],
        purpose: Purpose,
        long_text: LongText = LongText.MEAN_OF_CHUNKS,
        *,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float = inf,
    ) -> list[Embedding]:
        """Return one embedding a text, in order; the vectors are read-only.

        priority: interactive work is refused with OverloadedError when too much waits or the deadline cannot be met;
        bulk work waits. A request of more than MAX_INTERACTIVE_BYTES runs behind other interactive work in any case.
        deadline_s: a time.monotonic(); what has not reached the model by then never does, and DeadlineError is raised.
        Nor does what has not reached it when the calling task is cancelled.

        Raises as encoder.embedding.encode does, for the first text that fails; StoppedError at the end.
        """
        start = self._key_starts[purpose, long_text]
        keys: list[bytes] = []
        embeddings: dict[bytes, Embedding] = {}
        missing: dict[bytes, _Text] = {}
        for index, text in enumerate(texts):
            data = text.encode(errors="surrogatepass")  # a lone surrogate is the tokenizer's to refuse
            hash_ = start.copy()
            hash_.update(data)
            key = hash_.digest()
            keys.append(key)
            known = self._cache.get(key)
            if known is not None:
                embeddings[key] = known
            elif key not in missing:
                missing[key] = _Text(key, index, text, len(data))
        if missing:
            request = _Request(list(missing.values()), purpose, long_text, deadline_s)
            embeddings |= await self._encode(request, priority)
        return [embeddings[key] for key in keys]

    async def _encode(self, request: "_Request", priority: Priority) -> dict[bytes, Embedding]:
        try:
            if priority is Priority.INTERACTIVE and request.size_bytes <= MAX_INTERACTIVE_BYTES:
                await self._begin(request, request.texts, priority)
            else:
                await self._begin_in_turn(request, priority)
            await request.ready
            if self._record_span is not None:
                _record_runs(request, self._record_span)
            return request.embeddings
        finally:
            self._leave(request)

    async def _begin_in_turn(self, request: "_Request", priority: Priority) -> None:
        """Begin a bulk request piece by piece, as there is room."""
        size, limit = len(request.texts), self._batcher.max_queue_size
        if priority is Priority.INTERACTIVE and self._bulk_size and self._bulk_size + size > limit:
            description = f"{self._bulk_size:,} texts wait for room in the queue and {size:,} more came"
            raise OverloadedError(f"{description}; the limit is {limit:,}", retry_delay_s(0.0))
        self._bulk_size += size
        try:
            for piece in _pieces(request.texts):
                async with self._batcher.room():
                    await self._begin(request, piece, Priority.BULK)
                if request.ready.done():  # one has failed
                    return
        finally:
            self._bulk_size -= size

    async def _begin(self, request: "_Request", texts: Sequence["_Text"], priority: Priority) -> None:
        """Let the request have these texts' embeddings when they are made, and see to it that they are."""
        new = [text for text in texts if not self._join(request, text, priority)]
        if not new:
            return
        if priority is Priority.INTERACTIVE:  # before the tokenizer has worked for nothing; and once more, with lengths
            self._batcher.check_admission(len(new), 0, request.deadline_s)
        tokenized = await self._tokenize(new, request.purpose)
        begun: list[_InFlight] = []
        for text, tokens in zip(new, tokenized, strict=True):
            if self._join(request, text, priority):  # begun for another request in the meantime
                continue
            sequences = kept_sequences(text.index, tokens, request.long_text, self._encoder.max_tokens)
            in_flight = _InFlight(text.key, tokens)
            in_flight.job = Job(sequences, priority, request.deadline_s, partial(self._done, in_flight))
            begun.append(in_flight)
        if priority is Priority.INTERACTIVE:
            sequences = [queued.tokens for in_flight in begun for queued in in_flight.job.queued]
            self._batcher.check_admission(len(sequences), sum(map(len, sequences)), request.deadline_s)
        self._batcher.submit([in_flight.job for in_flight in begun])
        for in_flight in begun:
            self._in_flight[in_flight.key] = in_flight
            request.wait_for(in_flight)

    def _join(self, request: "_Request", text: "_Text", priority: Priority) -> bool:
        """Let the request have what is made or being made already; return whether it is."""
        in_flight = self._in_flight.get(text.key)
        if in_flight is not None and self._batcher.extend(in_flight.job, priority, request.deadline_s):
            request.wait_for(in_flight)
            return True
        embedding = self._cache.peek(text.key)
        if embedding is not None:
            request.take(text.key, embedding)
            return True
        return False

    async def _tokenize(self, texts: Sequence["_Text"], purpose: Purpose) -> list[TokenizedText]:
        contents = [text.text for text in texts]
        begin_s = time.monotonic()
        try:
            if sum(text.size_bytes for text in texts) <= MAX_INLINE_BYTES:
                return self._encoder.tokenize(contents, purpose)
            return await asyncio.to_thread(self._encoder.tokenize, contents, purpose)
        except TextError as error:
            error.text_index = texts[error.text_index].index
            raise
        finally:
            self._observe_tokenizing(time.monotonic() - begin_s)

    def _done(self, in_flight: "_InFlight", outcome: list[Vector] | Exception) -> None:
        """Hand a text's outcome to all who wait for it."""
        self._forget(in_flight)
        result: Embedding | Exception
        if isinstance(outcome, Exception):
            self._batcher.withdraw(in_flight.job)  # what is left of a text of several sequences
            result = outcome
        else:
            result = make_embedding(in_flight.tokenized, outcome)
            result.vector.flags.writeable = False  # all who ask get the same one
            self._cache.put(in_flight.key, result)
        for request in in_flight.requests:
            request.take(in_flight.key, result)

    def _forget(self, in_flight: "_InFlight") -> None:
        if self._in_flight.get(in_flight.key) is in_flight:  # another has its place where its deadline passed
            del self._in_flight[in_flight.key]

    def _leave(self, request: "_Request") -> None:
        """Drop what only this request waited for; nothing, if it has all that it asked for."""
        for in_flight in request.begun:
            in_flight.requests.remove(request)
            if not in_flight.requests and not in_flight.job.is_over:
                self._forget(in_flight)
                self._batcher.withdraw(in_flight.job)
        if request.ready.done() and not request.ready.cancelled():
            request.ready.exception()  # seen, where another error went first


class _Text:
    """A text that has to be made. index: its first place in the request."""

    __slots__ = ("index", "key", "size_bytes", "text")

    def __init__(self, key: bytes, index: int, text: str, size_bytes: int) -> None:
        self.key = key
        self.index = index
        self.text = text
        self.size_bytes = size_bytes


class _Request:
    """A request that waits for its texts, each of which is there once. `ready` is set when all are made, or one failed.

    begun: the texts on their way that it waits for or has waited for.
    """

    def __init__(self, texts: Sequence[_Text], purpose: Purpose, long_text: LongText, deadline_s: float) -> None:
        self.texts = texts
        self.purpose = purpose
        self.long_text = long_text
        self.deadline_s = deadline_s
        self.size_bytes = sum(text.size_bytes for text in texts)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun: list[_InFlight] = []
        self.embeddings: dict[bytes, Embedding] = {}

    def wait_for(self, in_flight: "_InFlight") -> None:
        """Wait for a text."""
        in_flight.requests.append(self)
        self.begun.append(in_flight)

    def take(self, key: bytes, result: Embedding | Exception) -> None:
        """Take a text's outcome."""
        if self.ready.done():
            return
        if isinstance(result, Exception):
            self.ready.set_exception(result)
            return
        self.embeddings[key] = result
        if len(self.embeddings) == len(self.texts):
            self.ready.set_result(None)


class _InFlight:
    """A text on its way through the model, and the requests that wait for it."""

    __slots__ = ("job", "key", "requests", "tokenized")
    job: Job

    def __init__(self, key: bytes, tokenized: TokenizedText) -> None:
        self.key = key
        self.tokenized = tokenized
        self.requests: list[_Request] = []


def _pieces(texts: Sequence[_Text]) -> Iterator[Sequence[_Text]]:
    """Yield the texts in pieces of at most PIECE_SIZE, and of PIECE_BYTES where a text is not larger."""
    piece: list[_Text] = []
    size_bytes = 0
    for text in texts:
        if piece and (len(piece) == PIECE_SIZE or size_bytes + text.size_bytes > PIECE_BYTES):
            yield piece
            piece, size_bytes = [], 0
        piece.append(text)
        size_bytes += text.size_bytes
    yield piece


def _record_runs(request: _Request, record_span: RecordSpan) -> None:
    """Tell how long the request's sequences waited, and how long they ran: each from the first to the last of them."""
    ran = [(one, one.run) for in_flight in request.begun for one in in_flight.job.queued if one.run is not None]
    if not ran:  # made for another request before this one looked
        return
    begin_s = min(run.begin_s for _, run in ran)
    attributes = {"recwire.sequence_count": len(ran), "recwire.batch_count": len({run for _, run in ran})}
    record_span("embed.queue", min(one.queue_time_s for one, _ in ran), begin_s, {})
    record_span("embed.run", begin_s, max(run.end_s for _, run in ran), attributes)
