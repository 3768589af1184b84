"""What is asked for and what is answered, on the wire, to what it means and back."""

from collections.abc import Iterable
from enum import IntEnum

from recwire.v1 import model_pb2, recommendation_pb2, recommender_service_pb2
from recwire_server.encoder import ModelVersion
from recwire_server.event import Event
from recwire_server.recommendation import (
    Answer,
    ItemTarget,
    Options,
    Recommendation,
    SessionTarget,
    Strategy,
    Target,
    TextTarget,
    UserTarget,
    VectorTarget,
)
from recwire_server.service.event_message import event_from
from recwire_server.service.field import FieldCheck
from recwire_server.service.filter_message import boosts_from, filter_from
from recwire_server.service.item_message import item_message
from recwire_server.user_id import UserIds

DEFAULT_LIMIT = 10
DEFAULT_OPTIONS = Options(limit=DEFAULT_LIMIT)
MAX_LIMIT = 1_000
MAX_OPTION_IDS = 1_000
MAX_SESSION_EVENTS = 256

# On the wire. That of the field's type, not its name: ten of them are told in each answer.
STRATEGIES = {one: recommendation_pb2.Strategy.Value(f"STRATEGY_{one.name}") for one in Strategy}


class SeenPolicy(IntEnum):
    """What to do with items in the history; the numbers are the wire's."""

    UNSPECIFIED = 0
    EXCLUDE = 1
    INCLUDE = 2


def target_from(
    request: recommender_service_pb2.RecommendRequest, now_ns: int, check: FieldCheck, user_ids: UserIds
) -> Target:
    """Return what a request asks for; its violations go to check."""
    kind = request.WhichOneof("target")
    if request.min_revision < 0:
        check.add("min_revision", f"is {request.min_revision}; give 0 or a revision from an answer")
    if request.min_revision and kind != "user_id":
        check.add("min_revision", "goes with user_id only")
    match kind:
        case "session":
            check.count("session.events", request.session.events, 0, MAX_SESSION_EVENTS)
            events: dict[str, Event] = {}
            for i, message in enumerate(request.session.events):
                field = f"session.events[{i}]"
                event = event_from(message, field, now_ns, check, default_id=field)  # the same answer every time
                events.setdefault(event.event_id, event)  # a second one with the id is a retry
            return SessionTarget(list(events.values()))
        case "item_id":
            return ItemTarget(check.id("item_id", request.item_id))
        case "text":
            return TextTarget(check.content("text", request.text))
        case "vector":
            return VectorTarget(check.vector("vector", request.vector))
    if kind is None:
        check.add("target", "is not set; set one of user_id, session, item_id, text, vector")
        return UserTarget("")
    return UserTarget(user_ids.stored(check.id("user_id", request.user_id)), request.min_revision)


def options_from(message: recommendation_pb2.RecommendOptions, field: str, check: FieldCheck) -> Options:
    """Return what options mean; their violations go to check."""
    if not message.ByteSize():
        return DEFAULT_OPTIONS
    if message.limit > MAX_LIMIT:
        check.add(f"{field}.limit", f"is {message.limit:,}; the limit is {MAX_LIMIT:,}")
    if not 0 <= message.diversity <= 1:
        check.add(f"{field}.diversity", f"is {message.diversity:g}; give 0-1")
    check.count(f"{field}.exclude_item_ids", message.exclude_item_ids, 0, MAX_OPTION_IDS)
    check.count(f"{field}.ignore_event_ids", message.ignore_event_ids, 0, MAX_OPTION_IDS)
    seen = check.enum(f"{field}.seen", message.seen, SeenPolicy)
    check.count(f"{field}.item_ids", message.item_ids, 0, MAX_OPTION_IDS)
    return Options(
        limit=message.limit or DEFAULT_LIMIT,
        exclude_item_ids=_ids(message.exclude_item_ids, f"{field}.exclude_item_ids", check),
        exclude_seen=seen != SeenPolicy.INCLUDE,
        explain=message.explain,
        ignore_event_ids=_ids(message.ignore_event_ids, f"{field}.ignore_event_ids", check),
        exact=message.exact,
        include_items=message.include_items,
        min_score=check.number(f"{field}.min_score", message.min_score) if message.HasField("min_score") else None,
        filter=filter_from(message.filter, f"{field}.filter", check),
        item_ids=_ids(message.item_ids, f"{field}.item_ids", check) if message.item_ids else None,
        boosts=boosts_from(message.boosts, f"{field}.boosts", check),
        diversity=message.diversity,
        rotation_ns=check.duration_ns(f"{field}.rotation", message.rotation) if message.HasField("rotation") else 0,
    )


def answer_message(answer: Answer, model: ModelVersion) -> recommendation_pb2.RecommendResponse:
    """Return an answer as it is sent."""
    response = recommendation_pb2.RecommendResponse(
        revision=answer.revision,
        model=model_message(model),
        recommendation_id=answer.recommendation_id,
        shortfall=recommendation_pb2.Shortfall.Name(answer.shortfall.value),
    )
    for recommendation in answer.recommendations:
        _add(response, recommendation)
    return response


def model_message(model: ModelVersion) -> model_pb2.ModelVersion:
    """Return a model's name as it is sent."""
    return model_pb2.ModelVersion(name=model.name, version=model.version)


def _ids(values: Iterable[str], field: str, check: FieldCheck) -> frozenset[str]:
    return frozenset(check.id(f"{field}[{i}]", value) for i, value in enumerate(values))


def _add(response: recommendation_pb2.RecommendResponse, recommendation: Recommendation) -> None:
    message = response.recommendations.add(
        item_id=recommendation.item_id,
        score=recommendation.score,
        strategy=STRATEGIES[recommendation.strategy],
    )
    for c in recommendation.contributions:
        message.contributions.add(event_id=c.event_id, item_id=c.item_id, value=c.value, part=c.part)
    if recommendation.item is not None:
        message.item.CopyFrom(item_message(recommendation.item))
