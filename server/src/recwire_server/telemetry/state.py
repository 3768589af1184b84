"""What the parts of a server hold, read when somebody asks for metrics."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from recwire_server import __version__
from recwire_server.catalogue import Catalogue
from recwire_server.encoder import ModelVersion, Priority
from recwire_server.encoder.batcher import Batcher
from recwire_server.encoder.embedder import Embedder
from recwire_server.lifecycle import Lifecycle, Phase
from recwire_server.reason import Reason
from recwire_server.recall_monitor import RecallMonitor
from recwire_server.search_turn import SearchTurns
from recwire_server.service.status import ErrorTeller
from recwire_server.store.sqlite import SqliteStore
from recwire_server.telemetry.call import Calls
from recwire_server.telemetry.heartbeat import Heartbeat
from recwire_server.user import Users


@dataclass(frozen=True)
class Parts:
    """What is read."""

    data_dir: Path
    model: ModelVersion
    recall_target: float
    lifecycle: Lifecycle
    calls: Calls
    teller: ErrorTeller
    heartbeat: Heartbeat
    batcher: Batcher
    embedder: Embedder
    catalogue: Catalogue
    monitor: RecallMonitor
    users: Users
    search_turns: SearchTurns
    store: SqliteStore


class StateCollector(Collector):
    """Reads the parts as they are now.

    Runs on the endpoint's threads, beside the event loop that owns the parts: it reads single numbers, and copies of
    dictionaries that Python makes in one step. Each is as it was at some moment; two may be of different ones.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Know the event loop that serves; called on it."""
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterator[Metric]:
        parts = self._parts
        model = parts.model
        build = {"version": __version__, "model": model.name, "model_version": model.version}
        yield InfoMetricFamily("recwire_build", "What serves: the server's version, and the model's.", build)
        is_ready = parts.lifecycle.phase is Phase.SERVING
        yield _gauge("recwire_ready", "Whether calls are taken, 0 or 1: not while starting or draining.", is_ready)
        yield _by_label("recwire_active_calls", "Calls under way.", "rpc_method", parts.calls.active_counts)
        yield from self._refusals()
        yield from self._process()
        yield from self._encoder()
        waiting = parts.search_turns.waiting_count
        yield _gauge("recwire_search_queue_size", "Searches that wait for their turn.", waiting)
        waiting = parts.store.waiting_count
        yield _gauge("recwire_store_queue_size", "Writes that wait for the next commit.", waiting)
        if parts.lifecycle.phase is not Phase.STARTING:
            yield from self._index()
            yield from self._recall()
        yield _gauge("recwire_users_cached", "Users held in memory.", parts.users.cached_count)
        yield _gauge("recwire_users_cached_bytes", "What users in memory take, about.", parts.users.cached_bytes)

    def _refusals(self) -> Iterator[Metric]:
        counts = dict(self._parts.teller.reason_counts)
        refusals = CounterMetricFamily(
            "recwire_refusals", "Errors told to callers, of calls or of messages of a stream.", labels=["reason"]
        )
        for reason, count in counts.items():
            refusals.add_metric([reason], count)
        yield refusals
        yield _counter(
            "recwire_incidents",
            "Errors that are the server's own bugs; the log has each.",
            counts.get(Reason.INTERNAL, 0),
        )

    def _process(self) -> Iterator[Metric]:
        with suppress(OSError):  # it is not there yet, or not any more
            disk = shutil.disk_usage(self._parts.data_dir)
            yield _gauge("recwire_data_free_bytes", "Free space on the data directory's disk.", disk.free)
            yield _gauge("recwire_data_disk_bytes", "Size of the data directory's disk.", disk.total)
        stall_s = self._parts.heartbeat.stall_s
        yield _gauge("recwire_event_loop_stall_seconds", "How late the event loop's next heartbeat is now.", stall_s)
        if self._loop is not None:
            count = len(asyncio.all_tasks(self._loop))
            yield _gauge("recwire_tasks", "Tasks of the event loop that have not ended.", count)

    def _encoder(self) -> Iterator[Metric]:
        batcher, embedder, stats = self._parts.batcher, self._parts.embedder, self._parts.embedder.cache_stats
        sizes = {priority.name.lower(): batcher.size(priority) for priority in Priority}
        yield _by_label("recwire_encoder_queue_size", "Sequences that wait for the model.", "class", sizes)
        limit = batcher.max_queue_size
        yield _gauge("recwire_encoder_queue_limit", "Interactive sequences that may wait (max_queue_size).", limit)
        in_flight = embedder.in_flight_size
        yield _gauge("recwire_encoder_texts_in_flight", "Texts that wait for the model or are in it.", in_flight)
        yield _counter("recwire_embedding_cache_hits", "Texts whose embedding was kept.", stats.hit_count)
        yield _counter("recwire_embedding_cache_misses", "Texts whose embedding was not kept.", stats.miss_count)
        evicted = stats.eviction_count
        yield _counter("recwire_embedding_cache_evictions", "Embeddings dropped for newer ones.", evicted)
        yield _gauge("recwire_embedding_cache_entries", "Embeddings kept.", stats.entry_count)
        yield _gauge("recwire_embedding_cache_bytes", "What kept embeddings take, about.", stats.size_bytes)

    def _index(self) -> Iterator[Metric]:
        generation = self._parts.catalogue.generation
        index = generation.index
        yield _gauge("recwire_index_generation", "Number of the generation that serves.", generation.number)
        yield _gauge("recwire_index_items", "Items that can be recommended.", len(generation))
        yield _gauge("recwire_index_rows", "Rows of the index, removed ones included.", index.row_count)
        removed = index.row_count - len(index)
        yield _gauge("recwire_index_removed_rows", "Rows that updates and deletes have left behind.", removed)
        yield _gauge("recwire_index_scored_rows", "Rows that every search scores one by one.", index.scored_count)
        rebuilding = self._parts.catalogue.is_rebuilding
        yield _gauge("recwire_index_rebuilding", "Whether the next generation is being built, 0 or 1.", rebuilding)
        yield _gauge("recwire_index_bytes", "What the index takes of the process's memory, about.", index.memory_bytes)

    def _recall(self) -> Iterator[Metric]:
        monitor = self._parts.monitor
        sealed = self._parts.catalogue.generation.index.sealed
        yield _gauge(
            "recwire_recall_target_ratio", "The recall@10 asked for (recall_target).", self._parts.recall_target
        )
        built = sealed.recall if sealed else 1.0
        yield _gauge("recwire_recall_built_ratio", "Recall@10 as measured when the index was built.", built)
        yield _gauge("recwire_recall_live_samples", "Users' searches that the live recall is of.", monitor.sample_count)
        live = GaugeMetricFamily("recwire_recall_live_ratio", "Recall@10 of users' latest searches, once there is one.")
        if monitor.sample_count:
            live.add_metric([], monitor.recall)
        yield live


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value)


def _by_label(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
