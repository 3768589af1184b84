"""Bytes that are no HTTP/2, HTTP/2 that breaks its rules, and calls that break gRPC's: drawn by number, as
`fuzzed_request` has them."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from http2_caller import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call_headers,
    data_frames,
    frame,
    grpc_message,
    header_block,
    headers_frames,
    settings,
)

from recwire.v1.recommender_service_pb2 import EmbedRequest

EMBED = "/recwire.v1.RecommenderService/Embed"
MESSAGE = EmbedRequest(texts=["a lamp"]).SerializeToString()
CALL = header_block(call_headers(EMBED))
TLS_HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(range(160))
HTTP_1 = b"POST /recwire.v1.RecommenderService/Embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"

Draw = Callable[[random.Random], bytes]


def malformed_connection(seed: int, number: int) -> bytes:
    """Return what is sent on the connection with this number."""
    chance = random.Random(seed * 1_000_003 + number)
    if chance.random() < 0.15:
        return chance.choice(NO_HTTP2)(chance)
    begin = PREFACE + settings() if chance.random() < 0.9 else PREFACE
    data = begin + b"".join(chance.choice(FRAMES)(chance) for _ in range(chance.choice((1, 2, 3))))
    return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.2 else data


NO_HTTP2: list[Draw] = [
    lambda chance: b"",
    lambda chance: chance.randbytes(chance.randrange(1, 2_000)),
    lambda chance: PREFACE[: chance.randrange(len(PREFACE))],
    lambda chance: PREFACE.replace(b"2.0", b"2.1") + settings(),
    lambda chance: PREFACE + PREFACE,
    lambda chance: PREFACE + chance.randbytes(chance.randrange(1, 200)),
    lambda chance: TLS_HELLO,
    lambda chance: HTTP_1,
    lambda chance: b"GET / HTTP/1.0\r\n\r\n" * chance.randrange(1, 50),
]


def _random_frame(chance: random.Random) -> bytes:
    payload = chance.randbytes(chance.choice((0, 1, 4, 5, 8, 9, 100)))
    length = chance.choice((None, None, None, 0, len(payload) + 1, 16_385, 2**24 - 1))
    kind, flags = chance.choice((*range(11), 255)), chance.choice((0, 1, 4, 5, 8, 0x20, 0x2D, 255))
    return frame(kind, flags, _stream(chance), payload, length)


def _stream(chance: random.Random) -> int:
    return chance.choice((0, 1, 1, 1, 2, 3, 2**31 - 1, 2**32 - 1))


def _bad_settings(chance: random.Random) -> bytes:
    pair = (chance.choice((0, 1, 2, 3, 4, 5, 6, 8, 9, 0xFFFF)), chance.choice((0, 1, 2, 2**14 - 1, 2**31, 2**32 - 1)))
    return chance.choice(
        (
            settings(pair),
            settings(*[pair] * chance.randrange(1, 200)),
            frame(SETTINGS, 0, 0, b"\0" * chance.choice((1, 5, 7))),
            frame(SETTINGS, 1, 0, b"\0" * 6),
            frame(SETTINGS, 0, 1),
        )
    )


def _flood(chance: random.Random) -> bytes:
    count = chance.choice((10, 100, 1_000))
    one = chance.choice(
        (
            settings(),
            settings((1, 0), (1, 4_096)),
            frame(PING, 0, 0, bytes(8)),
            frame(PING, 1, 0, bytes(8)),
            frame(DATA, 0, 1),
            frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
            frame(RST_STREAM, 0, 1, bytes(4)),
            frame(CONTINUATION, 0, 1),
        )
    )
    return one * count


def _rapid_reset(chance: random.Random) -> bytes:
    code = struct.pack(">I", chance.choice((0, 2, 7, 8, 99)))
    end = chance.choice((b"", frame(DATA, 0, 1, grpc_message(MESSAGE)[: chance.randrange(12)])))
    calls = []
    for stream in range(1, 2 * chance.choice((10, 100)), 2):
        calls.append(frame(HEADERS, END_HEADERS, stream, CALL))
        calls.append(end[:5] + struct.pack(">I", stream) + end[9:] if end else b"")
        calls.append(frame(RST_STREAM, 0, stream, code))
    return b"".join(calls)


def _bad_headers(chance: random.Random) -> bytes:
    block = chance.choice(
        (
            chance.randbytes(chance.randrange(1, 100)),
            CALL[: chance.randrange(len(CALL))],
            b"\x3f" + b"\xff" * 20,  # a table size without end
            b"\x7f" + b"\xff" * 4 + b"\x7f",  # an index beyond the table
            b"\x00\x7f" + b"\xff" * 8 + b"\x01",  # a name longer than the frame
            b"\x00\x01a\x81\xff",  # a Huffman code that is none
            b"\x82" * 5_000,
            header_block([("x", "y" * 16_000)]),
        )
    )
    flags = chance.choice((0, END_HEADERS, END_HEADERS | END_STREAM, END_HEADERS | PADDED, END_HEADERS | HAS_PRIORITY))
    return frame(HEADERS, flags, _stream(chance), block)


def _headers_without_end(chance: random.Random) -> bytes:
    pieces = [CALL, *(header_block([(f"x{n}", "y" * 1_000)]) for n in range(chance.choice((0, 1, 20, 100))))]
    rest = b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:])
    return frame(HEADERS, 0, 1, pieces[0]) + rest + chance.choice((b"", frame(PING, 0, 0, bytes(8))))


def _broken_rule(chance: random.Random) -> bytes:
    whole = frame(HEADERS, END_HEADERS, 1, CALL) + data_frames(1, grpc_message(MESSAGE))
    return chance.choice(
        (
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 2,
            whole + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)) * 2,
            frame(WINDOW_UPDATE, 0, 0, bytes(4)),
            whole + frame(DATA, 0, 1, b"after the end"),
            whole + frame(HEADERS, END_HEADERS, 1, CALL),
            frame(HEADERS, END_HEADERS, 5, CALL) + frame(HEADERS, END_HEADERS, 3, CALL),
            frame(HEADERS, END_HEADERS, 2, CALL),
            frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + CALL[:10]),
            frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 255)),
            frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + CALL),
            frame(GOAWAY, 0, 0, bytes(8)) + whole,
            frame(DATA, 0, 7, bytes(16_384)) * 8,  # more than the window, on a stream that is none
        )
    )


FRAMES: list[Draw] = [
    *(_random_frame, _random_frame, _bad_settings, _flood, _rapid_reset, _bad_headers, _headers_without_end),
    *(_broken_rule, _broken_rule),
]


@dataclass(frozen=True)
class MalformedCall:
    """A call's frames; is_answered: whether gRPC ends it, or waits for more of it as long as the connection lives."""

    frames: bytes
    is_answered: bool


def malformed_call(seed: int, number: int, stream: int) -> MalformedCall:
    """Return the call with this number on a stream."""
    chance = random.Random(seed * 1_000_003 + number)
    rpc, changed = EMBED, {}
    if chance.random() < 0.7:
        rpc, changed = chance.choice(HEADERS_CHANGED)
    body, is_answered = grpc_message(MESSAGE), True
    if chance.random() < 0.5:
        body, is_answered = chance.choice(BODIES)(chance)
    data = headers_frames(stream, call_headers(rpc, **changed))
    if chance.random() < 0.1:
        return MalformedCall(data + frame(RST_STREAM, 0, stream, struct.pack(">I", 8)), is_answered=False)
    return MalformedCall(data + data_frames(stream, body), is_answered)


HEADERS_CHANGED: list[tuple[str, dict[str, str | None]]] = [
    *((path, {}) for path in ("/", "//", "nopath", "/a.b/C", f"{EMBED}x", "/recwire.v1.RecommenderService/", "/" * 99)),
    *((EMBED, {name: None}) for name in ("method", "scheme", "path", "authority", "te", "content_type")),
    *((EMBED, {"method": method}) for method in ("GET", "PUT", "CONNECT", "")),
    *(
        (EMBED, {"content_type": kind})
        for kind in ("application/json", "application/grpc+json", "grpc", "text/html", "")
    ),
    *((EMBED, {"grpc_timeout": time}) for time in ("", "1", "-1S", "99999999999S", "0n", "1X", "1S1S", "nan", "1H")),
    *((EMBED, {"grpc_encoding": name}) for name in ("gzip", "deflate", "snappy", "identity", "")),
    *((EMBED, {"scheme": scheme}) for scheme in ("https", "ftp", "")),
    *((EMBED, {name: "!!!"}) for name in ("x_bin", "grpc_trace_bin", "grpc_tags_bin", "authorization", "grpc_status")),
    *((EMBED, {"x": value}) for value in ("", "y" * 8_000, "\r\n", "\0", "\x7f", "é")),
]

BODIES: list[Callable[[random.Random], tuple[bytes, bool]]] = [
    lambda chance: (b"", False),
    lambda chance: (grpc_message(MESSAGE)[: chance.randrange(5 + len(MESSAGE))], False),
    lambda chance: (grpc_message(MESSAGE, length=chance.choice((100, 4 * 2**20 + 1, 2**31, 2**32 - 1))), False),
    lambda chance: (grpc_message(MESSAGE, length=3), True),
    lambda chance: (grpc_message(MESSAGE, compressed=chance.choice((1, 2, 255))), True),
    lambda chance: (grpc_message(MESSAGE) * chance.choice((2, 50)), True),
    lambda chance: (grpc_message(MESSAGE) + chance.randbytes(chance.randrange(1, 20)), True),
    lambda chance: (grpc_message(chance.randbytes(50)), True),
]
