"""A load balancer that drops connections on which nothing is said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class ImpatientProxy:
    """Passes bytes on to a server; a connection that is silent for so many seconds is dropped.

    address: HOST:PORT. connection_count: of those that came.
    """

    target: str
    patience_s: float
    address: str = ""
    connection_count: int = 0
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until one side ends it, or silence."""
        self.connection_count += 1
        host, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        heard = asyncio.Event()

        async def watch() -> None:
            with suppress(TimeoutError):
                while True:
                    await asyncio.wait_for(heard.wait(), self.patience_s)
                    heard.clear()

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    heard.set()
                    sink.write(data)
                    await sink.drain()

        works = (watch(), pass_on(reader, far_writer), pass_on(far_reader, writer))
        tasks = {asyncio.create_task(work) for work in works}
        self._passing |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._passing -= tasks
        for task in tasks:
            task.cancel()
        writer.close()
        far_writer.close()

    def drop_all(self) -> None:
        """End all connections."""
        for task in self._passing:
            task.cancel()


@asynccontextmanager
async def impatient_proxy(target: str, patience_s: float) -> AsyncIterator[ImpatientProxy]:
    """Run such a proxy for the length of the block."""
    proxy = ImpatientProxy(target, patience_s)
    server = await asyncio.start_server(proxy.connect, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.drop_all()
