"""Random catalogues, histories and questions, put to a server and to the oracle alike."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from contract_words import NS_PER_S
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from oracle import Expected, Oracle, Scored, recency_key

from recwire import (
    AttributeValue,
    Boost,
    Condition,
    Event,
    Filter,
    Item,
    NumberRange,
    Recommendation,
    RecommendOptions,
    RecommendResponse,
    Strategy,
    StringSet,
    to_bytes,
)
from recwire.channel import Stubs
from recwire.v1.admin_service_pb2 import CheckUsersRequest
from recwire.v1.catalog_service_pb2 import DeleteItemsRequest, UpsertItemsRequest
from recwire.v1.recommender_service_pb2 import RecommendRequest, Session, UpdateUserRequest
from recwire.v1.user_service_pb2 import DeleteUserRequest, ForgetEventsRequest

DIM = 32
WORDS = ["lamp", "kettle", "river", "novel", "space", "piano", "garden", "bicycle"]
ITEM_IDS = [f"i{n}" for n in range(7)]  # few, so that histories meet updates and deletions
USER_IDS = ["ada", "bob"]
EVENT_IDS = [f"e{n}" for n in range(20)]  # few, so that they come again and are forgotten
LABELS = ["x", "y", "z", ""]
NUMBERS = [-1.0, 0.0, 2.5, 1e9]
DAY_NS = 86_400 * NS_PER_S
TOLERANCE = 1e-5

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
vectors = st.integers(0, 50).map(lambda seed: to_bytes(np.random.default_rng(seed).normal(size=DIM)))
# Whole days from when a scenario begins; None: no time is given.
days = st.sampled_from([None, None, None, -9, -3, -2, -1, -1, 0, 1])
item_ids = st.sampled_from(ITEM_IDS)
string_sets = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(lambda values: StringSet(values=values))
attribute_values = st.one_of(
    st.sampled_from(LABELS).map(lambda text: AttributeValue(text=text)),
    st.sampled_from(NUMBERS).map(lambda number: AttributeValue(number=number)),
    st.booleans().map(lambda flag: AttributeValue(flag=flag)),
    st.lists(st.sampled_from(LABELS), max_size=3).map(lambda values: AttributeValue(labels=StringSet(values=values))),
)
attribute_names = st.sampled_from(["a", "b"])
contents = st.one_of(
    st.fixed_dictionaries({"title": texts, "texts": st.lists(texts, max_size=2)}),
    st.fixed_dictionaries({"title": texts, "vector": vectors}),
)
items = st.fixed_dictionaries(
    {
        "item_id": item_ids,
        "content": contents,
        "attributes": st.dictionaries(attribute_names, attribute_values, min_size=1, max_size=2),
        "publish_day": st.sampled_from([None, None, None, -3, -1, 2]),
        "expire_day": st.sampled_from([None, None, None, None, -1, 2]),
    }
)
any_events = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(EVENT_IDS),
        "subject": st.one_of(
            item_ids.map(lambda item_id: {"item_id": item_id}),
            item_ids.map(lambda item_id: {"item_id": item_id}),
            st.one_of(texts, item_ids, st.just("lamp")).map(lambda text: {"text": text}),
            vectors.map(lambda vector: {"vector": vector}),
        ),
        "type": st.sampled_from([0, 0, 0, *range(13)]),
        "weight": st.sampled_from([None, None, None, 0.0, 1.0, 0.5, -1.0, 2.5]),
        "day": days,
    }
)
# Equal in subject, type and weight, or nearly so: repeats.
plain_events = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(EVENT_IDS),
        "subject": st.sampled_from([{"item_id": "i0"}, {"text": "i0"}, {"item_id": "i1"}]),
        "type": st.sampled_from([0, 1]),
        "weight": st.just(None),
        "day": days,
    }
)
events = st.one_of(any_events, plain_events)
conditions = st.one_of(
    st.builds(Condition, attribute=attribute_names, any_of=string_sets),
    st.builds(
        Condition,
        attribute=attribute_names,
        range=st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(NUMBERS)).map(
            lambda bound: NumberRange(**{bound[0]: bound[1]})
        ),
    ),
    st.builds(Condition, attribute=attribute_names, equals=st.booleans()),
)
boosts = st.builds(Boost, when=conditions, add=st.sampled_from([-2.03, 0.107, 0.503]))
few_conditions = st.lists(conditions, max_size=2)
parts = [
    st.fixed_dictionaries({"exclude_item_ids": st.lists(item_ids, max_size=3)}),
    st.fixed_dictionaries({"item_ids": st.lists(item_ids, max_size=6)}),
    st.fixed_dictionaries(
        {"filter": st.builds(Filter, must=few_conditions, should=few_conditions, must_not=few_conditions)}
    ),
    st.fixed_dictionaries({"min_score": st.sampled_from([-0.31193, 0.05131, 0.23717, 1.10377])}),
    st.fixed_dictionaries({"diversity": st.sampled_from([0.3, 0.7, 1.0])}),
    st.fixed_dictionaries({"boosts": st.lists(boosts, min_size=2, max_size=6)}),
    st.fixed_dictionaries({"ignore_event_ids": st.lists(st.sampled_from(EVENT_IDS), min_size=4, max_size=15)}),
]
# A few of the options at once: with more, most answers are empty and one hides another.
options = st.builds(
    lambda always, some: {name: value for part in [*some, always] for name, value in part.items()},
    st.fixed_dictionaries({"limit": st.integers(0, 12), "exact": st.booleans(), "seen": st.sampled_from([0, 1, 2, 2])}),
    st.lists(st.one_of(parts), max_size=4),
)
targets = st.one_of(
    *(st.sampled_from(USER_IDS).map(lambda user_id: ("user_id", user_id)) for _ in range(6)),
    st.lists(events, max_size=8).map(lambda session: ("session", session)),
    st.lists(events, max_size=8).map(lambda session: ("session", session)),
    st.just(("user_id", "nobody")),
    item_ids.map(lambda item_id: ("item_id", item_id)),
    texts.map(lambda text: ("text", text)),
    vectors.map(lambda vector: ("vector", vector)),
)
questions = st.fixed_dictionaries({"target": targets, "options": options})
operations = st.one_of(
    st.tuples(st.just("upsert"), st.lists(items, min_size=1, max_size=5)),
    *(
        st.tuples(st.just("update"), st.sampled_from(USER_IDS), st.lists(events, min_size=2, max_size=6))
        for _ in range(4)
    ),
    *(st.tuples(st.just("ask"), questions) for _ in range(2)),
    st.tuples(st.just("delete"), st.lists(item_ids, min_size=1, max_size=2)),
    st.tuples(
        st.just("forget"), st.sampled_from(USER_IDS), st.lists(st.sampled_from(EVENT_IDS), min_size=1, max_size=5)
    ),
    st.tuples(st.just("delete user"), st.sampled_from(USER_IDS)),
)
# A catalogue first: much of what comes before it would be asked of nothing.
catalogues = st.tuples(st.just("upsert"), st.lists(items, min_size=5, max_size=12))
histories = st.builds(lambda first, rest: [first, *rest], catalogues, st.lists(operations, min_size=8, max_size=25))


@dataclass
class Scenario:
    """Does the same to a server and to an oracle, and compares what they answer.

    run: begins the ids of its items and users, so that many scenarios share a server.
    """

    stubs: Stubs
    oracle: Oracle
    run: str
    begin_ns: int = field(default_factory=time.time_ns)
    revisions: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[RecommendRequest, RecommendResponse]] = field(default_factory=list)

    def play(self, history: Sequence[tuple[Any, ...]]) -> None:
        """Let a history happen; its questions are checked on the way."""
        steps = {
            "upsert": self.upsert,
            "update": self.update,
            "ask": self.ask,
            "delete": self.delete,
            "forget": self.forget,
            "delete user": self.delete_user,
        }
        for name, *arguments in history:
            steps[name](*arguments)

    def upsert(self, drawn: Sequence[Mapping[str, Any]]) -> None:
        made = [self._item(item) for item in drawn]
        self.oracle.upsert(made, time.time_ns())
        self.stubs.catalog.UpsertItems(UpsertItemsRequest(items=made))

    def delete(self, drawn: Sequence[str]) -> None:
        mine = [self.named(item_id) for item_id in drawn]
        self.stubs.catalog.DeleteItems(DeleteItemsRequest(item_ids=mine))
        self.oracle.delete(mine)

    def update(self, user: str, drawn: Sequence[Mapping[str, Any]]) -> None:
        user_id, made = self.named(user), [self.event(event) for event in drawn]
        duplicates = self.oracle.record(user_id, made, time.time_ns())
        answer = self.stubs.recommender.UpdateUser(UpdateUserRequest(user_id=user_id, events=made))
        assert list(answer.duplicate_event_ids) == duplicates
        assert answer.applied_count == len(made) - len(duplicates)
        if answer.applied_count:
            assert answer.revision > self.revisions.get(user_id, 0)
        else:
            assert answer.revision == self.revisions[user_id]
        self.revisions[user_id] = answer.revision

    def forget(self, user: str, event_ids: Sequence[str]) -> None:
        user_id = self.named(user)
        if not self.oracle.logs[user_id]:
            return
        count = self.oracle.forget(user_id, event_ids)
        answer = self.stubs.user.ForgetEvents(ForgetEventsRequest(user_id=user_id, event_ids=event_ids))
        assert answer.forgotten_count == count
        if count:
            assert answer.revision > self.revisions[user_id]
        else:
            assert answer.revision == self.revisions[user_id]
        self.revisions[user_id] = answer.revision

    def delete_user(self, user: str) -> None:
        user_id = self.named(user)
        count = len(self.oracle.logs.pop(user_id, []))
        if count:
            answer = self.stubs.user.DeleteUser(DeleteUserRequest(user_id=user_id))
            assert answer.deleted_event_count == count
            self.revisions.pop(user_id)

    def ask(self, question: Mapping[str, Any]) -> None:
        """Ask both, and check the server's answer."""
        request = self.request(question)
        if request.WhichOneof("target") == "item_id" and request.item_id not in self.oracle.items:
            return
        answer = self.stubs.recommender.Recommend(request)
        expected = self.oracle.recommend(request, time.time_ns())
        user_id = request.user_id
        assert answer.revision == (self.revisions[user_id] if self.oracle.logs.get(user_id) else 0)
        if expected.is_certain:
            check_answer(answer, expected, request.options)
        self.asked.append((request, answer))

    def check_users(self) -> None:
        """Every user's state is what a replay makes, to the last bit."""
        for progress in self.stubs.admin.CheckUsers(CheckUsersRequest()):
            assert list(progress.differing_user_ids) == []

    def clear(self) -> None:
        """Take away its items and users."""
        for user in USER_IDS:
            self.delete_user(user)
        self.delete(ITEM_IDS)

    def named(self, name: str) -> str:
        return f"{self.run}-{name}"

    def request(self, question: Mapping[str, Any]) -> RecommendRequest:
        kind, value = question["target"]
        if kind in ("user_id", "item_id"):
            value = self.named(value)
        elif kind == "session":
            value = Session(events=[self.event(event) for event in value])
        options = dict(question["options"])
        for name in ("exclude_item_ids", "item_ids"):
            options[name] = [self.named(item_id) for item_id in options.get(name, [])]
        return RecommendRequest(**{kind: value}, options=RecommendOptions(explain=True, **options))

    def event(self, drawn: Mapping[str, Any]) -> Event:
        event = Event(event_id=drawn["event_id"], type=drawn["type"], **drawn["subject"])
        if event.item_id:
            event.item_id = self.named(event.item_id)
        elif event.text in ITEM_IDS:
            event.text = self.named(event.text)  # a text that reads as an item's id
        if drawn["weight"] is not None:
            event.weight = drawn["weight"]
        if drawn["day"] is not None:
            event.event_time.CopyFrom(self._time(drawn["day"]))
        return event

    def _item(self, drawn: Mapping[str, Any]) -> Item:
        item = Item(item_id=self.named(drawn["item_id"]), **drawn["content"])
        for name, value in drawn["attributes"].items():
            item.attributes[name].CopyFrom(value)
        if drawn["publish_day"] is not None:
            item.publish_time.CopyFrom(self._time(drawn["publish_day"]))
        if drawn["expire_day"] is not None:
            item.expire_time.CopyFrom(self._time(drawn["expire_day"]))
        return item

    def _time(self, day: int) -> Timestamp:
        time_ns = self.begin_ns + day * DAY_NS
        return Timestamp(seconds=time_ns // NS_PER_S, nanos=time_ns % NS_PER_S)


def check_answer(answer: RecommendResponse, expected: Expected, options: RecommendOptions) -> None:
    """An answer is the expected one: scores to 1e-5, the same items but where scores are equal to rounding."""
    given = list(answer.recommendations)
    by_id = {scored.item_id: scored for scored in expected.ranked}
    assert len({one.item_id for one in given}) == len(given) == expected.count
    assert answer.shortfall == expected.shortfall
    for one in given:
        check_recommendation(one, by_id[one.item_id])
    if options.diversity:
        check_diversity(given, expected, options)
        return
    best = [scored.score for scored in expected.ranked[: expected.count]]
    assert [one.score for one in given] == pytest.approx(best, abs=TOLERANCE)
    chosen = [by_id[one.item_id] for one in given]
    chosen_ids = {one.item_id for one in given}
    left_out = [scored for scored in expected.ranked if scored.item_id not in chosen_ids]
    for place, one in enumerate(chosen):
        assert not any(comes_before(other, one) for other in [*chosen[place + 1 :], *left_out])
    for before, after in pairwise(given):
        if (before.score, before.strategy) == (after.score, after.strategy) and after.strategy != STRATEGY_RECENT:
            assert before.item_id < after.item_id


STRATEGY_RECENT = Strategy.STRATEGY_RECENT


def comes_before(one: Scored, other: Scored) -> bool:
    """Whether one surely has its place before the other: by score, and of the new by age and id."""
    if abs(one.score - other.score) > 2 * TOLERANCE:
        return one.score > other.score
    if one.strategy != other.strategy or abs(one.score - other.score) > 1e-9:
        return one.score == other.score and one.strategy < other.strategy
    return one.strategy == STRATEGY_RECENT and (-recency_key(one), one.item_id) < (-recency_key(other), other.item_id)


def check_recommendation(one: Recommendation, scored: Scored) -> None:
    """Score, strategy and contributions are those expected."""
    assert one.score == pytest.approx(scored.score, abs=TOLERANCE)
    assert one.strategy == scored.strategy
    assert sum(part.value for part in one.contributions) == pytest.approx(one.score, abs=TOLERANCE)
    parts: dict[tuple[str, str], float] = {}
    for part in one.contributions:
        key = (part.part, part.event_id)
        assert part.part == "boost" or key not in parts
        parts[key] = parts.get(key, 0.0) + part.value
    for key in parts.keys() | scored.parts.keys():
        assert parts.get(key, 0.0) == pytest.approx(scored.parts.get(key, 0.0), abs=TOLERANCE), key


def check_diversity(given: Sequence[Recommendation], expected: Expected, options: RecommendOptions) -> None:
    """Each is, of the best candidates, the one with the most marginal relevance after those before it."""
    pool = list(expected.ranked[: max(5 * (options.limit or 10), 100)])
    chosen: list[Scored] = []

    def value(scored: Scored) -> float:
        nearest = max((float(scored.unit @ before.unit) for before in chosen), default=0.0)
        return (1 - options.diversity) * scored.relevance - options.diversity * nearest

    for one in given:
        (picked,) = [scored for scored in pool if scored.item_id == one.item_id]
        assert value(picked) >= max(map(value, pool)) - TOLERANCE
        chosen.append(picked)
        pool.remove(picked)
