"""The rpcs of AdminService."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from recwire.v1 import admin_service_pb2 as pb
from recwire.v1.admin_service_pb2_grpc import AdminServiceServicer
from recwire_server import __version__
from recwire_server.catalogue import Catalogue
from recwire_server.encoder import Encoder
from recwire_server.encoder.cache import CacheStats
from recwire_server.encoder.embedder import Embedder
from recwire_server.generation import Generation
from recwire_server.memory import resident_bytes
from recwire_server.recall_monitor import RecallMonitor
from recwire_server.service.field import timestamp
from recwire_server.service.recommendation_message import model_message
from recwire_server.user import Users

USERS_A_MESSAGE = 100  # some 10 ms of work, between which other calls are served

Context = grpc.aio.ServicerContext[Any, Any]


class AdminService(AdminServiceServicer):
    """GetServerInfo, CheckUsers. start_time_ns: when the server started, nanoseconds since 1970."""

    def __init__(
        self,
        catalogue: Catalogue,
        users: Users,
        embedder: Embedder,
        encoder: Encoder,
        monitor: RecallMonitor,
        *,
        recall_target: float,
        start_time_ns: int,
    ) -> None:
        self._catalogue = catalogue
        self._users = users
        self._embedder = embedder
        self._encoder = encoder
        self._monitor = monitor
        self._recall_target = recall_target
        self._start_time_ns = start_time_ns

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.GetServerInfoResponse:
        user_count = await self._users.count()
        generation = self._catalogue.generation
        sealed = generation.index.sealed
        return pb.GetServerInfoResponse(
            server_version=__version__,
            model=model_message(self._encoder.model),
            dimension=self._encoder.dim,
            item_count=len(generation),
            user_count=user_count,
            index_generation=generation.number,
            recall_target=self._recall_target,
            measured_recall=sealed.recall if sealed else 1.0,
            ef_search=sealed.calibration.max_ef_search if sealed and sealed.graph else 0,
            vector_space=generation.space.name,
            catalog_revision=self._catalogue.revision,
            start_time=timestamp(self._start_time_ns),
            embedding_cache=_cache_message(self._embedder.cache_stats),
            index=self._index_message(generation),
            memory=self._memory_message(generation),
        )

    async def CheckUsers(self, request: pb.CheckUsersRequest, context: Context) -> AsyncIterator[pb.CheckUsersResponse]:
        checked_count, after = 0, ""
        while user_ids := await self._users.user_ids(after, USERS_A_MESSAGE):
            wrong = [user_id for user_id in user_ids if not await self._users.is_as_replayed(user_id)]
            checked_count, after = checked_count + len(user_ids), user_ids[-1]
            yield pb.CheckUsersResponse(checked_count=checked_count, differing_user_ids=wrong)

    def _index_message(self, generation: Generation) -> pb.IndexInfo:
        index, sealed = generation.index, generation.index.sealed
        message = pb.IndexInfo(
            method=index.method.value,
            reason=f"{len(generation):,} items: every one is scored" if sealed is None else sealed.reason,
            live_recall=self._monitor.recall,
            live_sample_count=self._monitor.sample_count,
            row_count=index.row_count,
            removed_row_count=index.row_count - len(index),
            scored_row_count=index.scored_count,
            is_rebuilding=self._catalogue.is_rebuilding,
        )
        if sealed is not None:
            calibration = sealed.calibration
            message.width = calibration.width
            message.scan_cpu_duration.FromNanoseconds(round(1e9 * calibration.scan_s))
            message.graph_cpu_duration.FromNanoseconds(round(1e9 * calibration.graph_s))
            for kind, recall in sealed.recalls.items():
                message.recalls.add(kind=kind, recall=recall)
        return message

    def _memory_message(self, generation: Generation) -> pb.MemoryInfo:
        index = generation.index
        held_bytes = index.memory_bytes + index.mapped_bytes + generation.memory_bytes
        return pb.MemoryInfo(
            resident_bytes=resident_bytes(),
            index_bytes=index.memory_bytes,
            index_mapped_bytes=index.mapped_bytes,
            bytes_per_item=held_bytes // max(len(generation), 1),
            rebuild_bytes=index.next_memory_bytes + generation.memory_bytes,
            user_cache_bytes=self._users.cached_bytes,
            user_cache_max_bytes=self._users.max_cached_bytes,
            cached_user_count=self._users.cached_count,
        )


def _cache_message(stats: CacheStats) -> pb.EmbeddingCacheInfo:
    return pb.EmbeddingCacheInfo(
        hit_count=stats.hit_count,
        miss_count=stats.miss_count,
        eviction_count=stats.eviction_count,
        entry_count=stats.entry_count,
        size_bytes=stats.size_bytes,
    )
