"""EmbedStream embeds in bulk: in order, error by error, and no further ahead than its reader."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing

import grpc
import pytest
from conftest import RunningServer, StartServer
from gated_encoder import PATIENCE_S, GatedEncoder
from scripted_server import Caller

import recwire
from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.admin_service_pb2 import GetServerInfoRequest
from recwire.v1.admin_service_pb2_grpc import AdminServiceStub
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.encoder import Purpose, TokenizedText
from recwire_server.encoder.embedding import encode
from recwire_server.service.stream import MAX_IN_WORK, MAX_IN_WORK_BYTES, answer_in_order
from recwire_server.testing import HashEncoder

AHEAD_OF_READER = 7  # requests: four in work, and a few answers in gRPC's hands
EMBED_STREAM = "/recwire.v1.RecommenderService/EmbedStream"


def message(*texts: str, **fields: object) -> pb.EmbedStreamRequest:
    return pb.EmbedStreamRequest(request=pb.EmbedRequest(texts=texts, **fields))


def answers(server: RunningServer, requests: Iterator[pb.EmbedStreamRequest]) -> list[pb.EmbedStreamResponse]:
    with grpc.insecure_channel(server.address) as channel:
        return list(RecommenderServiceStub(channel).EmbedStream(requests, timeout=PATIENCE_S))


def test_answers_come_in_the_order_of_the_requests(hash_server):
    """One each, long and short ones, as Embed would answer."""
    requests = [
        [f"text {n} {'word ' * (n * 37 % 300)}" for n in range(start, start + 1 + start % 7)] for start in range(60)
    ]
    received = answers(hash_server, (message(*texts) for texts in requests))
    assert [len(answer.response.embeddings) for answer in received] == [len(texts) for texts in requests]
    for texts, answer in zip(requests, received, strict=True):
        assert answer.response.dimension == 32
        assert answer.response.model.name == "hash-encoder"
        for ours, theirs in zip(answer.response.embeddings, encode(HashEncoder(), texts, Purpose.QUERY), strict=True):
            assert ours.vector == theirs.vector.astype("<f4").tobytes()
            assert ours.token_count == theirs.token_count


def test_a_bad_message_is_answered_in_its_place(hash_server):
    """With the status, reason and fields that Embed would give; the stream goes on."""
    bad = message("a", " ", "b", "")
    refused, too_many = message("word " * 300, long_text=pb.LONG_TEXT_REJECT), message(*["a"] * 257)
    received = answers(hash_server, iter([message("a"), bad, refused, pb.EmbedStreamRequest(), too_many, message("b")]))
    errors = [answer.error for answer in received[1:5]]
    assert [answer.WhichOneof("outcome") for answer in received] == ["response", *["error"] * 4, "response"]
    assert {error.code for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert [error.reason for error in errors] == ["INVALID_FIELD", "TEXT_TOO_LONG", "INVALID_FIELD", "INVALID_FIELD"]
    assert [list(error.fields) for error in errors] == [["texts[1]", "texts[3]"], ["texts[0]"], ["texts"], ["texts"]]
    assert "302 tokens" in errors[1].message


def test_bytes_that_are_no_message_are_answered_in_their_place(hash_server):
    """What does not parse is one bad message like another."""
    data = [message("a").SerializeToString(), b"\xff" * 9, b"\x0a\x03\x0a\x01\xff", message("b").SerializeToString()]
    with grpc.insecure_channel(hash_server.address) as channel:
        stream = channel.stream_stream(EMBED_STREAM, response_deserializer=pb.EmbedStreamResponse.FromString)
        received = list(stream(iter(data), timeout=PATIENCE_S))
    assert [answer.WhichOneof("outcome") for answer in received] == ["response", "error", "error", "response"]
    assert "recwire.v1.EmbedStreamRequest" in received[1].error.message
    assert list(received[2].error.fields) == ["request.texts[0]"]


def test_our_own_bug_is_answered_in_its_place(start_server: StartServer, caplog):
    """INTERNAL with an incident id under which the log has the cause; the stream goes on."""

    class FaultyEncoder(HashEncoder):
        def run(self, sequences):
            if len(sequences[0]) == 3:
                raise ZeroDivisionError("secret")
            return super().run(sequences)

    first, second = answers(start_server(FaultyEncoder()), iter([message("fault"), message("all is well")]))
    assert first.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert first.error.message.split()[-1] in caplog.text
    assert "secret" not in first.error.message
    assert second.HasField("response")


def test_interactive_calls_go_before_a_stream(start_server: StartServer):
    """An Embed that comes while a stream's texts wait is the next to run."""
    encoder = GatedEncoder()
    server = start_server(encoder, encoder_thread_count=1)
    with grpc.insecure_channel(server.address) as channel:
        stream = RecommenderServiceStub(channel).EmbedStream(
            iter([message(*(f"bulk {n} {m}" for n in range(50))) for m in range(4)]), timeout=PATIENCE_S
        )
        asyncio.run(encoder.reached(1))
        embed = RecommenderServiceStub(channel).Embed.future(pb.EmbedRequest(texts=["one"]), timeout=PATIENCE_S)
        encoder.let_through(1)
        while encoder.texts("one") not in encoder.batches:
            asyncio.run(encoder.reached(len(encoder.batches) + 1))
            encoder.let_through(1)
        assert encoder.batches.index(encoder.texts("one")) <= 3
        encoder.open()
        assert len(embed.result().embeddings) == 1
        assert len(list(stream)) == 4


class WideEncoder(HashEncoder):
    """A HashEncoder of long vectors; counts the texts that came."""

    def __init__(self) -> None:
        super().__init__(dim=1024)
        self.text_count = 0

    def tokenize(self, texts: Sequence[str], purpose: Purpose) -> list[TokenizedText]:
        self.text_count += len(texts)
        return super().tokenize(texts, purpose)


def test_a_slow_reader_does_not_fill_the_server(start_server: StartServer):
    """Of all the requests that a client sends without reading answers, the server takes a few."""
    encoder = WideEncoder()
    server = start_server(encoder, embedding_cache_bytes=0)
    requests = (message(*(f"{m} {n % 4}" for n in range(256))) for m in range(500))
    # The client's window stays at its first 64 KiB, where gRPC would let a good connection's grow to some MiB.
    with grpc.insecure_channel(server.address, [("grpc.http2.bdp_probe", 0)]) as channel:
        stream = RecommenderServiceStub(channel).EmbedStream(requests, timeout=PATIENCE_S)
        for answered in range(1, 4):
            next(stream)
            for n in range(200):  # time enough for a server that would run ahead
                server.client.embed([f"meanwhile {answered} {n}"])
            taken = (encoder.text_count - answered * 200) / 4  # of each request, its 4 different texts reach the model
            assert taken <= answered + AHEAD_OF_READER
        stream.cancel()


@pytest.mark.parametrize("timeout_s", [PATIENCE_S, 0.3], ids=["cancelled", "deadline"])
def test_what_nobody_waits_for_is_dropped(timeout_s, start_server: StartServer):
    """When a stream is cancelled, or its deadline passes, what it has in work does not reach the model."""
    encoder = GatedEncoder()
    server = start_server(encoder, encoder_thread_count=1)
    requests = [message(*(f"bulk {m} {n}" for n in range(50))) for m in range(8)]
    with grpc.insecure_channel(server.address) as channel:
        stream = RecommenderServiceStub(channel).EmbedStream(iter(requests), timeout=timeout_s)
        asyncio.run(encoder.reached(1))
        if timeout_s == PATIENCE_S:
            stream.cancel()
        with pytest.raises(grpc.RpcError):
            next(stream)
        for _ in range(10):  # on the same connection: the server has seen the end of the stream by then
            AdminServiceStub(channel).GetServerInfo(GetServerInfoRequest())
        encoder.open()
        RecommenderServiceStub(channel).Embed(pb.EmbedRequest(texts=["after"]))
    assert encoder.batches[1:] == [encoder.texts("after")]


CLIENTS = pytest.mark.parametrize("client_class", [recwire.Client, recwire.AsyncClient])


@CLIENTS
def test_the_client_streams_what_embed_returns(client_class, hash_server):
    """Any number of texts, the same vectors."""
    texts = [f"text {n} {'word ' * (n % 40)}" for n in range(1_000)]
    with Caller(client_class, hash_server.address) as call:
        streamed = call("embed_stream", texts)
    at_once = [
        vector
        for start in range(0, 1_000, 250)
        for vector in hash_server.client.embed(texts[start : start + 250]).vectors
    ]
    assert [one.vector.tobytes() for one in streamed] == [vector.tobytes() for vector in at_once]


@CLIENTS
def test_the_client_waits_for_an_answer_as_long_as_it_was_told(client_class, start_server):
    """Then DeadlineExceededError is raised, and the server drops the stream."""
    encoder = GatedEncoder()
    with Caller(client_class, start_server(encoder).address) as call:
        with pytest.raises(recwire.DeadlineExceededError, match=r"no answer within 0\.1 s"):
            call("embed_stream", ["text"], timeout_s=0.1)
        encoder.open()


async def endless(counter: list[int], size_bytes: int) -> AsyncIterator[pb.EmbedStreamRequest]:
    """Yield requests of a size; count them."""
    while True:
        counter[0] += 1
        yield message("x" * size_bytes)


async def at_once(request: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
    return pb.EmbedStreamResponse()


def never(error: Exception) -> pb.EmbedStreamResponse:
    raise AssertionError from error


@pytest.mark.parametrize(("size_bytes", "in_work"), [(1, MAX_IN_WORK), (MAX_IN_WORK_BYTES, 1)])
async def test_requests_are_read_as_answers_are_taken(size_bytes, in_work):
    """No more than MAX_IN_WORK requests, or MAX_IN_WORK_BYTES of them, are read ahead of the reader."""
    read = [0]
    stream = answer_in_order(endless(read, size_bytes), at_once, never)
    async with aclosing(stream) as answers:
        for taken in range(1, 20):
            await anext(answers)
            for _ in range(20):
                await asyncio.sleep(0)
            assert read[0] <= taken + in_work


async def test_closing_ends_all_that_is_in_work():
    """Requests in work are cancelled, and have ended when closing returns."""
    begun, ended, all_begun = [], [], asyncio.Event()

    async def forever(request: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
        begun.append(request)
        if len(begun) == MAX_IN_WORK:
            all_begun.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            ended.append(request)

    async def consume() -> None:
        async with aclosing(answer_in_order(endless([0], 1), forever, never)) as answers:
            await anext(answers)

    consuming = asyncio.create_task(consume())
    await all_begun.wait()
    consuming.cancel()
    await asyncio.wait([consuming])
    assert len(ended) == len(begun) == MAX_IN_WORK
