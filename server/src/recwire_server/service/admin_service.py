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
        *,
        recall_target: float,
        start_time_ns: int,
    ) -> None:
        self._catalogue = catalogue
        self._users = users
        self._embedder = embedder
        self._encoder = encoder
        self._recall_target = recall_target
        self._start_time_ns = start_time_ns

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.GetServerInfoResponse:
        user_count = await self._users.count()
        generation = self._catalogue.generation
        calibration = generation.index.calibration
        return pb.GetServerInfoResponse(
            server_version=__version__,
            model=model_message(self._encoder.model),
            dimension=self._encoder.dim,
            item_count=len(generation),
            user_count=user_count,
            index_generation=generation.number,
            recall_target=self._recall_target,
            measured_recall=calibration.recall if calibration else 1.0,
            ef_search=calibration.ef_search if calibration else 0,
            vector_space=generation.space.name,
            catalog_revision=self._catalogue.revision,
            start_time=timestamp(self._start_time_ns),
            embedding_cache=_cache_message(self._embedder.cache_stats),
        )

    async def CheckUsers(self, request: pb.CheckUsersRequest, context: Context) -> AsyncIterator[pb.CheckUsersResponse]:
        checked_count, after = 0, ""
        while user_ids := await self._users.user_ids(after, USERS_A_MESSAGE):
            wrong = [user_id for user_id in user_ids if not await self._users.is_as_replayed(user_id)]
            checked_count, after = checked_count + len(user_ids), user_ids[-1]
            yield pb.CheckUsersResponse(checked_count=checked_count, differing_user_ids=wrong)


def _cache_message(stats: CacheStats) -> pb.EmbeddingCacheInfo:
    return pb.EmbeddingCacheInfo(
        hit_count=stats.hit_count,
        miss_count=stats.miss_count,
        eviction_count=stats.eviction_count,
        entry_count=stats.entry_count,
        size_bytes=stats.size_bytes,
    )
