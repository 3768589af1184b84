"""Builds, starts and stops the parts of a server; the only module that knows them all."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from recwire.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from recwire.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from recwire.v1.recommender_service_pb2_grpc import add_RecommenderServiceServicer_to_server
from recwire.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from recwire_server.catalogue import Catalogue
from recwire_server.config import Settings, VectorSpaceName
from recwire_server.encoder import Encoder
from recwire_server.encoder.batcher import Batcher
from recwire_server.encoder.cache import EmbeddingCache
from recwire_server.encoder.embedder import Embedder
from recwire_server.generation_builder import GenerationBuilder
from recwire_server.lifecycle import Lifecycle
from recwire_server.popularity import Popularity
from recwire_server.recommender import Recommender
from recwire_server.service.admin_service import AdminService
from recwire_server.service.boundary import Boundary
from recwire_server.service.catalog_service import CatalogService
from recwire_server.service.recommender_service import RecommenderService
from recwire_server.service.user_service import UserService
from recwire_server.store.sqlite import SqliteStore
from recwire_server.task import TaskKeeper
from recwire_server.transport import Transport
from recwire_server.user import Users


class App:
    """A server. `async with` starts it, and stops it at the end of the block; inside, health says SERVING.

    encoder: loaded. Entering raises OSError if the address is taken, DataDirectoryError if the directory cannot serve.
    """

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self._settings = settings
        self._encoder = encoder
        self._tasks = TaskKeeper()
        self._batcher = Batcher(
            encoder,
            worker_count=settings.encoder_thread_count,
            max_batch_size=settings.max_batch_size,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_wait_s=settings.max_batch_wait_s,
            max_queue_size=settings.max_queue_size,
        )
        self._embedder = Embedder(encoder, self._batcher, EmbeddingCache(settings.embedding_cache_bytes))
        self._store = SqliteStore(
            settings.data_dir,
            dim=encoder.dim,
            model_name=encoder.model.name,
            model_version=encoder.model.version,
        )
        builder = GenerationBuilder(
            self._store,
            settings.data_dir / "index",
            dim=encoder.dim,
            centred=settings.vector_space is VectorSpaceName.CENTRED,
            recall_target=settings.recall_target,
            exact_search_max_items=settings.exact_search_max_items,
            thread_count=settings.index_thread_count,
        )
        self._catalogue = Catalogue(self._store, self._embedder, builder, self._tasks)
        self._popularity = Popularity(self._store)
        self._users = Users(
            self._store,
            self._catalogue,
            self._popularity,
            self._tasks,
            dim=encoder.dim,
            decay=settings.decay_per_event,
            max_cached_events=settings.max_cached_events,
        )
        self._recommender = Recommender(self._embedder, self._catalogue, self._users, self._popularity)
        self._transport = Transport(settings.listen, Lifecycle(), self._register)
        self._exit = AsyncExitStack()
        self.address = settings.listen  # as bound, once the block is entered

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exit_on_error:
            exit_on_error.push_async_callback(self._transport.stop, self._settings.drain_s)
            self.address = await self._transport.start()
            await self._store.start()
            exit_on_error.push_async_callback(self._store.close)
            await exit_on_error.enter_async_context(self._batcher)
            exit_on_error.push_async_callback(self._tasks.drain)
            await self._catalogue.start()
            await self._popularity.start()
            await self._users.start()
            # Entered last to be left first: no part goes away under a call.
            exit_on_error.push_async_callback(self._transport.stop, self._settings.drain_s)
            self._transport.serve()
            self._exit = exit_on_error.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exit.aclose()

    def _register(self, boundary: Boundary) -> None:
        """Put the services on the port."""
        recommender_service = RecommenderService(self._recommender, self._encoder)
        add_RecommenderServiceServicer_to_server(recommender_service, boundary)
        add_CatalogServiceServicer_to_server(CatalogService(self._catalogue, self._encoder), boundary)
        add_UserServiceServicer_to_server(UserService(self._recommender, self._encoder), boundary)
        admin_service = AdminService(
            self._catalogue,
            self._users,
            self._embedder,
            self._encoder,
            recall_target=self._settings.recall_target,
            start_time_ns=time.time_ns(),
        )
        add_AdminServiceServicer_to_server(admin_service, boundary)


async def serve(settings: Settings, encoder: Encoder) -> None:
    """Serve until SIGTERM or SIGINT; say on standard output where, once calls are taken. A second signal ends it at
    once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with App(settings, encoder) as app:
        print(f"recwire is serving on {app.address}", flush=True)
        await stop.wait()
