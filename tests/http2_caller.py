"""HTTP/2 as no library would speak it: frames by hand on a raw connection, and what the server makes of them."""

import asyncio
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
PATIENCE_S = 30.0  # for what takes milliseconds on an idle machine
MAX_FRAME_BYTES = 16_384

Header = tuple[str, str]


@dataclass
class Answers:
    """What came back on a connection: each stream's headers and trailers, codes of RST_STREAM, and of GOAWAY."""

    headers: dict[int, dict[str, str]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    reset: dict[int, int] = field(default_factory=dict)
    goaway: int | None = None


class RawConnection:
    """A connection to a server, with which anything can be sent. `async with` opens and closes it."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._decoder = Decoder()
        self._received = b""
        self.answers = Answers()

    async def __aenter__(self) -> "RawConnection":
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()  # RST where bytes are left unread
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send bytes; what the server no longer takes is dropped."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return

    async def read_until_ended(self, streams: Iterable[int]) -> None:
        """Read until these streams have ended, or the connection has."""
        awaited = set(streams)
        async with asyncio.timeout(PATIENCE_S):
            while not awaited <= self.answers.ended | set(self.answers.reset):
                if not await self._read_some():
                    return

    async def read_until_closed(self) -> None:
        """Say that nothing more will be sent, and read until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                self._writer.write_eof()
            except OSError:
                return
            while await self._read_some():
                pass

    async def _read_some(self) -> bool:
        try:
            data = await self._reader.read(1 << 16)
        except ConnectionError:
            return False
        self._received += data
        while len(self._received) >= 9:
            size = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + size:
                break
            kind, flags, stream = self._received[3], self._received[4], int.from_bytes(self._received[5:9], "big")
            self._take(kind, flags, stream, self._received[9 : 9 + size])
            self._received = self._received[9 + size :]
        return bool(data)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            headers = self._decoder.decode(payload, raw=True)  # a message may quote bytes that are no text
            found = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
            self.answers.headers.setdefault(stream, {}).update(found)
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.answers.ended.add(stream)
        if kind == RST_STREAM:
            self.answers.reset[stream] = int.from_bytes(payload, "big")
        if kind == GOAWAY:
            self.answers.goaway = int.from_bytes(payload[4:8], "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame; length: what it says of itself, where that is not the truth."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", number, value) for number, value in pairs))


def call_headers(rpc: str, **changed: str | None) -> list[Header]:
    """Return a call's headers; changed ones by their names with _ for -, and without those that are None."""
    headers: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": rpc,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in changed.items():
        plain = name.replace("_", "-")
        headers[f":{plain}" if f":{plain}" in headers else plain] = value
    return [(name, value) for name, value in headers.items() if value is not None]


def header_block(headers: Iterable[Header]) -> bytes:
    """Return headers as HPACK has them, without a table that would tie connections' frames to each other."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(list(headers), huffman=False)


def headers_frames(stream: int, headers: Iterable[Header], flags: int = END_HEADERS) -> bytes:
    """Return a HEADERS frame."""
    return frame(HEADERS, flags, stream, header_block(headers))


def grpc_message(data: bytes, compressed: int = 0, length: int | None = None) -> bytes:
    """Return a message as gRPC frames it; length: what it says of itself, where that is not the truth."""
    return bytes([compressed]) + (len(data) if length is None else length).to_bytes(4, "big") + data


def data_frames(stream: int, data: bytes) -> bytes:
    """Return DATA frames, the last of which ends the stream."""
    pieces = [data[start : start + MAX_FRAME_BYTES] for start in range(0, len(data), MAX_FRAME_BYTES)] or [b""]
    frames = [frame(DATA, 0, stream, piece) for piece in pieces[:-1]]
    return b"".join([*frames, frame(DATA, END_STREAM, stream, pieces[-1])])
