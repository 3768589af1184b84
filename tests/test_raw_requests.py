"""What no well-behaved client sends: bytes that are no message, requests too large; rpcs to come; and our own bugs."""

import logging
import re

import grpc
import numpy as np
import pytest
from error_details import error_of

from recwire import Event, Item, ServerFaultError
from recwire.v1 import catalog_service_pb2 as catalog
from recwire.v1 import recommender_service_pb2 as recommender
from recwire.v1 import user_service_pb2 as user
from recwire_server.encoder import Vector
from recwire_server.testing import HashEncoder

NOT_UTF8 = b"\xff\xfe"
MARK = "zz"  # stands in for what is not UTF-8: as long, and in no other place


def broken(request: object) -> bytes:
    """Return a request's bytes with MARK replaced by bytes that are not UTF-8."""
    data = request.SerializeToString()
    assert data.count(MARK.encode()) == 1
    return data.replace(MARK.encode(), NOT_UTF8)


def raw_error(address: str, rpc: str, data: bytes):
    """Send bytes to an rpc; return the error."""
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(f"/recwire.v1.{rpc}")(data, timeout=10)
    return error_of(raised.value)


@pytest.mark.parametrize(
    ("rpc", "request_", "field"),
    [
        ("RecommenderService/Embed", recommender.EmbedRequest(texts=["a", MARK]), "texts[1]"),
        ("RecommenderService/UpdateUser", recommender.UpdateUserRequest(user_id=MARK), "user_id"),
        (
            "RecommenderService/UpdateUser",
            recommender.UpdateUserRequest(user_id="ada", events=[Event(item_id="1"), Event(text=MARK)]),
            "events[1].text",
        ),
        ("CatalogService/UpsertItems", catalog.UpsertItemsRequest(items=[Item(title=MARK)]), "items[0].title"),
        ("UserService/GetUser", user.GetUserRequest(user_id=MARK), "user_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_text_that_is_not_utf8_is_named(rpc, request_, field, hash_server):
    """INVALID_ARGUMENT with the field's path, where gRPC alone would say INTERNAL."""
    error = raw_error(hash_server.address, rpc, broken(request_))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.fields == [field]
    assert "UTF-8" in error.message


@pytest.mark.parametrize("data", [b"\x0a\x7f", b"\xff" * 20, b"\x08"], ids=["cut off", "garbage", "half a field"])
def test_bytes_that_are_no_message_are_refused(data, hash_server):
    """INVALID_ARGUMENT says which message was expected; the server goes on answering."""
    error = raw_error(hash_server.address, "RecommenderService/Recommend", data)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "recwire.v1.RecommendRequest" in error.message
    assert hash_server.client.get_server_info().item_count == 0


def test_a_request_over_4_mib_is_refused(hash_server):
    """gRPC itself answers RESOURCE_EXHAUSTED, and the next request is served."""
    with grpc.insecure_channel(hash_server.address) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/recwire.v1.RecommenderService/Embed")(bytes(4 * 1024 * 1024 + 1), timeout=10)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(hash_server.client.embed(["a lamp"]).vectors) == 1


def test_a_compressed_request_is_refused_as_it_lies(hash_server):
    """UNIMPLEMENTED: inflated, 4 MiB could be 4 GiB before anybody looks at the size; the next request is served."""
    with grpc.insecure_channel(hash_server.address) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/recwire.v1.RecommenderService/Embed")(
            bytes(5 * 1024 * 1024), timeout=10, compression=grpc.Compression.Gzip
        )
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "compression" in raised.value.details().lower()
    assert len(hash_server.client.embed(["a lamp"]).vectors) == 1


class FaultyEncoder(HashEncoder):
    """An encoder with a bug."""

    def run(self, *_: object) -> Vector:
        raise ZeroDivisionError("the secret of the encoder")


def test_our_own_bug_is_an_incident(start_server, caplog):
    """INTERNAL with an id under which the log has the cause; the caller sees nothing of the inside."""
    client = start_server(FaultyEncoder()).client

    with caplog.at_level(logging.ERROR, "recwire_server"), pytest.raises(ServerFaultError) as raised:
        client.embed(["a lamp"])

    incident = re.search(r"incident ([0-9a-f]+)", str(raised.value))
    assert incident
    assert "secret" not in str(raised.value)
    (record,) = [record for record in caplog.records if incident[1] in record.getMessage()]
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert client.update_user("ada", [Event(item_id="1")]).applied_count == 1


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_never_end_the_server(seed, hash_server):
    """Whatever comes, the answer is an answer or INVALID_ARGUMENT."""
    random = np.random.default_rng(seed)
    rpcs = ["RecommenderService/Embed", "RecommenderService/UpdateUser", "CatalogService/UpsertItems"]
    with grpc.insecure_channel(hash_server.address) as channel:
        calls = [
            channel.unary_unary(f"/recwire.v1.{random.choice(rpcs)}").future(
                random.bytes(random.integers(0, 60)), timeout=10
            )
            for _ in range(200)
        ]
        codes = {call.code() for call in calls}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    assert hash_server.client.get_server_info().dimension == 32
