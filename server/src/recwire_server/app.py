"""Builds, starts and stops the parts of a server; the only module that knows them all."""

import logging
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recwire.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from recwire.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from recwire.v1.recommender_service_pb2_grpc import add_RecommenderServiceServicer_to_server
from recwire.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from recwire_server.access.authorization import Authorization
from recwire_server.access.certificate import Certificates
from recwire_server.access.keyring import Keyring
from recwire_server.catalogue import Catalogue
from recwire_server.config import OlderEvents, Settings, VectorSpaceName
from recwire_server.encoder import Encoder
from recwire_server.encoder.batcher import Batcher
from recwire_server.encoder.cache import EmbeddingCache
from recwire_server.encoder.embedder import Embedder
from recwire_server.event import DEFAULT_WEIGHTS, EventType
from recwire_server.generation_builder import GenerationBuilder
from recwire_server.history import HistoryRules
from recwire_server.index import snapshot_folder
from recwire_server.index.sealed import BuildRules
from recwire_server.item_number import ItemNumbers
from recwire_server.keyed_lock import KeyedLocks
from recwire_server.lifecycle import Lifecycle
from recwire_server.popularity import Popularity
from recwire_server.prior import Prior, PriorWeights
from recwire_server.queue_limit import QueueLimit
from recwire_server.ranking import Ranker
from recwire_server.recall_monitor import RecallMonitor
from recwire_server.recommender import Recommender
from recwire_server.search_turn import SearchTurns
from recwire_server.served import ServedHistory
from recwire_server.service.admin_service import AdminService
from recwire_server.service.boundary import Boundary, CallLimits
from recwire_server.service.catalog_service import CatalogService
from recwire_server.service.recommender_service import RecommenderService
from recwire_server.service.status import ErrorTeller
from recwire_server.service.user_service import UserService
from recwire_server.store.sqlite import SqliteStore
from recwire_server.task import TaskKeeper
from recwire_server.telemetry.call import Calls
from recwire_server.telemetry.endpoint import MetricsEndpoint
from recwire_server.telemetry.heartbeat import Heartbeat
from recwire_server.telemetry.metric import Metrics
from recwire_server.telemetry.state import Parts, StateCollector
from recwire_server.transport import ConnectionRules, Transport
from recwire_server.user import Users
from recwire_server.user_id import UserIds
from recwire_server.user_record import UserRecords
from recwire_server.user_sample import UserSample

if TYPE_CHECKING:  # imports OpenTelemetry
    from recwire_server.telemetry.tracing import Tracing

logger = logging.getLogger(__name__)


class App:
    """A server. `async with` starts it, and stops it at the end of the block; inside, health says SERVING.

    encoder: loaded. Entering raises OSError if the address is taken, DataDirectoryError if the directory cannot serve,
    AccessError if keys or certificates cannot be read, UserIdKeyError if the key of user ids cannot.
    """

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self._settings = settings
        self._encoder = encoder
        self._tasks = TaskKeeper()
        self._metrics = Metrics()
        self._tracing = _tracing(settings)
        record_span = self._tracing.record if self._tracing else None
        self._batcher = _batcher(settings, encoder, self._metrics)
        self._embedder = Embedder(
            encoder,
            self._batcher,
            EmbeddingCache(settings.embedding_cache_bytes),
            observe_tokenizing=self._metrics.tokenized,
            record_span=record_span,
        )
        self._user_ids = UserIds(settings.user_id_key_file)
        self._store = SqliteStore(
            settings.data_dir,
            dim=encoder.dim,
            model_name=encoder.model.name,
            model_version=encoder.model.version,
            observe=self._metrics.committed,
            record_span=record_span,
        )
        item_numbers = ItemNumbers()
        rules = _history_rules(settings)
        builder = _generation_builder(settings, encoder, self._store, rules, item_numbers)
        self._catalogue = Catalogue(self._store, self._embedder, builder, self._tasks)
        self._popularity = Popularity(self._store, item_numbers, rules, settings.popularity_half_life_s)
        self._users = Users(
            self._store,
            self._catalogue,
            self._popularity,
            self._tasks,
            rules,
            dim=encoder.dim,
            max_cached_bytes=settings.user_cache_bytes,
        )
        served, turns = ServedHistory(), KeyedLocks()
        self._recall_monitor = RecallMonitor(self._tasks, settings.recall_target)
        ranker = Ranker(
            Prior(self._popularity, _prior_weights(settings)),
            self._recall_monitor,
            observe=self._metrics.searched,
            record_span=record_span,
        )
        self._search_turns = SearchTurns(_wait_limit(settings))
        self._recommender = Recommender(
            self._embedder,
            self._catalogue,
            self._users,
            served,
            turns,
            ranker,
            self._search_turns,
            on_update=self._metrics.updated,
            on_answer=self._metrics.recommended,
        )
        self._user_records = UserRecords(self._users, self._catalogue, served, turns)
        self._keyring = Keyring(settings.keys_file) if settings.keys_file else None
        self._certificates = _certificates(settings)
        lifecycle, self._teller = Lifecycle(), ErrorTeller()
        calls = Calls(self._metrics, self._tracing)
        self._transport = self._new_transport(lifecycle, calls)
        self._heartbeat = Heartbeat(self._metrics.loop_lag.observe)
        self._state = StateCollector(self._parts(lifecycle, calls))
        self._metrics.registry.register(self._state)
        self._endpoint: MetricsEndpoint | None = None
        if settings.metrics_listen is not None:
            self._endpoint = MetricsEndpoint(settings.metrics_listen, self._metrics.registry)
        self._exit = AsyncExitStack()
        self.address = settings.listen  # as bound, once the block is entered

    @property
    def metrics_address(self) -> str | None:
        """HOST:PORT of the metrics, as bound once the block is entered; None: there are none."""
        return self._endpoint.address if self._endpoint else None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exit_on_error:
            await self._start_telemetry(exit_on_error)
            if self._keyring is not None:
                await exit_on_error.enter_async_context(self._keyring)
            self._user_ids.start()
            exit_on_error.push_async_callback(self._transport.stop, self._settings.drain_s)
            self.address = await self._transport.start()
            await self._store.start(self._user_ids.key_fingerprint)
            exit_on_error.push_async_callback(self._store.close)
            await exit_on_error.enter_async_context(self._batcher)
            exit_on_error.push_async_callback(self._tasks.drain)
            start_s = time.monotonic()
            await self._catalogue.start()
            items_s = time.monotonic() - start_s
            await self._popularity.start()
            popularity_s = time.monotonic() - start_s - items_s
            logger.info("items are back after %.2f s, what is popular after %.2f s more", items_s, popularity_s)
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

    def reload(self) -> None:
        """Read the API keys and the certificates again; what cannot be read stays as it was, and the log says so."""
        if self._keyring is not None:
            self._keyring.reload()
        if self._certificates is not None:
            self._certificates.reload()

    def _new_transport(self, lifecycle: Lifecycle, calls: Calls) -> Transport:
        settings = self._settings
        return Transport(
            settings.listen,
            lifecycle,
            _call_limits(settings),
            ConnectionRules(settings.keepalive_interval_s, settings.max_connection_age_s),
            Authorization(self._keyring),
            calls,
            self._teller,
            self._register,
            certificates=self._certificates,
            health_access=settings.health_access,
            reflection_access=settings.reflection,
        )

    async def _start_telemetry(self, exit_on_error: AsyncExitStack) -> None:
        """Tell of the server from before it starts until it has stopped."""
        if self._tracing is not None:
            self._tracing.start()
            exit_on_error.push_async_callback(self._tracing.stop)
        self._heartbeat.start()
        exit_on_error.callback(self._heartbeat.stop)
        self._state.start()
        if self._endpoint is not None:
            self._endpoint.start()
            exit_on_error.push_async_callback(self._endpoint.stop)

    def _parts(self, lifecycle: Lifecycle, calls: Calls) -> Parts:
        """Return what is read for metrics."""
        return Parts(
            data_dir=self._settings.data_dir,
            model=self._encoder.model,
            recall_target=self._settings.recall_target,
            lifecycle=lifecycle,
            calls=calls,
            teller=self._teller,
            heartbeat=self._heartbeat,
            batcher=self._batcher,
            embedder=self._embedder,
            catalogue=self._catalogue,
            monitor=self._recall_monitor,
            users=self._users,
            search_turns=self._search_turns,
            store=self._store,
        )

    def _register(self, boundary: Boundary) -> None:
        """Put the services on the port."""
        default_timeout_s = self._settings.default_timeout_s
        recommender_service = RecommenderService(
            self._recommender, self._encoder, self._user_ids, self._teller, default_timeout_s
        )
        add_RecommenderServiceServicer_to_server(recommender_service, boundary)
        catalog_service = CatalogService(self._catalogue, self._encoder, default_timeout_s)
        add_CatalogServiceServicer_to_server(catalog_service, boundary)
        add_UserServiceServicer_to_server(UserService(self._user_records, self._encoder, self._user_ids), boundary)
        admin_service = AdminService(
            self._catalogue,
            self._users,
            self._embedder,
            self._encoder,
            self._recall_monitor,
            recall_target=self._settings.recall_target,
            start_time_ns=time.time_ns(),
        )
        add_AdminServiceServicer_to_server(admin_service, boundary)


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.trace_endpoint is None:
        return None
    from recwire_server.telemetry.tracing import Tracing

    return Tracing(settings.trace_endpoint, settings.trace_sample_share)


def _batcher(settings: Settings, encoder: Encoder, metrics: Metrics) -> Batcher:
    return Batcher(
        encoder,
        worker_count=settings.encoder_thread_count,
        max_batch_size=settings.max_batch_size,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_wait_s=settings.max_batch_wait_s,
        max_queue_size=settings.max_queue_size,
        wait_limit=_wait_limit(settings),
        observe=metrics.batch_ran,
    )


def _generation_builder(
    settings: Settings, encoder: Encoder, store: SqliteStore, rules: HistoryRules, item_numbers: ItemNumbers
) -> GenerationBuilder:
    return GenerationBuilder(
        store,
        UserSample(store, rules),
        settings.data_dir / snapshot_folder.FOLDER,
        item_numbers,
        dim=encoder.dim,
        centred=settings.vector_space is VectorSpaceName.CENTRED,
        exact_search_max_items=settings.exact_search_max_items,
        rules=_build_rules(settings),
    )


def _wait_limit(settings: Settings) -> QueueLimit:
    return QueueLimit(settings.max_queue_wait_s, settings.max_standing_wait_s)


def _call_limits(settings: Settings) -> CallLimits:
    return CallLimits(settings.max_calls, settings.max_streams, settings.default_timeout_s)


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)


def _history_rules(settings: Settings) -> HistoryRules:
    named = {EventType[name.upper()]: weight for name, weight in settings.event_weights.items()}
    return HistoryRules(
        weights={**DEFAULT_WEIGHTS, **named},
        decay_per_event=settings.decay_per_event,
        half_life_s=settings.decay_half_life_s,
        repeat_window_s=settings.repeat_window_s,
        max_events=settings.max_history_events,
        older_count=settings.older_events is OlderEvents.COUNT,
    )


def _build_rules(settings: Settings) -> BuildRules:
    return BuildRules(
        recall_target=settings.recall_target,
        method=settings.search_method,
        graph_min_rows=settings.graph_min_items,
        thread_count=settings.index_thread_count,
    )


def _prior_weights(settings: Settings) -> PriorWeights:
    return PriorWeights(settings.popularity_weight, settings.recency_weight, settings.recency_half_life_s)
