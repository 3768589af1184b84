"""What is called: requests, ready to be sent."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from recwire.v1.event_pb2 import Event
from recwire.v1.recommendation_pb2 import RecommendOptions
from recwire.v1.recommender_service_pb2 import EmbedRequest, RecommendRequest, UpdateUserRequest


class Call(StrEnum):
    """What is called. EMPTY: health's Check, which costs what the transport does."""

    RECOMMEND = "recommend"
    UPDATE_USER = "update_user"
    EMBED = "embed"
    MIX = "mix"
    EMPTY = "empty"


PATHS = {
    Call.RECOMMEND: "/recwire.v1.RecommenderService/Recommend",
    Call.UPDATE_USER: "/recwire.v1.RecommenderService/UpdateUser",
    Call.EMBED: "/recwire.v1.RecommenderService/Embed",
    Call.EMPTY: "/grpc.health.v1.Health/Check",
}
MIX = {Call.RECOMMEND: 7, Call.UPDATE_USER: 2, Call.EMBED: 1}  # of ten: pages are asked for more often than clicked on


@dataclass(frozen=True)
class Request:
    """A call to be made: the rpc's path, and the message as it is sent."""

    path: str
    message: bytes


@dataclass(frozen=True)
class Workload:
    """What is called and about what, drawn by seed. It can be pickled.

    Recommend is for vectors if there are any, else for user_ids, else for items near item_ids. UpdateUser has a new
    event on an item, by a user. Embed has one of the texts and a number, so that no two are the same.
    """

    call: Call
    seed: int
    user_ids: Sequence[str] = ()
    item_ids: Sequence[str] = ()
    texts: Sequence[str] = ()
    vectors: Sequence[bytes] = ()
    options: RecommendOptions = field(default_factory=RecommendOptions)

    def requests(self, part: str) -> Iterator[Request]:
        """Yield requests without end; another part has others."""
        chance = random.Random(f"{self.seed} {part}")
        messages: dict[Call, Callable[[random.Random], bytes]] = {
            Call.RECOMMEND: self._recommend,
            Call.UPDATE_USER: self._update_user,
            Call.EMBED: self._embed,
            Call.EMPTY: lambda _: b"",
        }
        while True:
            call = chance.choices(list(MIX), list(MIX.values()))[0] if self.call is Call.MIX else self.call
            yield Request(PATHS[call], messages[call](chance))

    def _recommend(self, chance: random.Random) -> bytes:
        if self.vectors:
            request = RecommendRequest(vector=chance.choice(self.vectors), options=self.options)
        elif self.user_ids:
            request = RecommendRequest(user_id=chance.choice(self.user_ids), options=self.options)
        else:
            request = RecommendRequest(item_id=chance.choice(self.item_ids), options=self.options)
        return request.SerializeToString()

    def _update_user(self, chance: random.Random) -> bytes:
        event = Event(event_id=f"{chance.getrandbits(128):x}", item_id=chance.choice(self.item_ids))
        return UpdateUserRequest(user_id=chance.choice(self.user_ids), events=[event]).SerializeToString()

    def _embed(self, chance: random.Random) -> bytes:
        text = f"{chance.choice(self.texts)} {chance.getrandbits(32)}"
        return EmbedRequest(texts=[text]).SerializeToString()
