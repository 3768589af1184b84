"""Filters and boosts on the wire: what they mean, and what is refused under which path."""

import math

import pytest

from recwire.v1.filter_pb2 import Boost as BoostMessage
from recwire.v1.filter_pb2 import Condition as ConditionMessage
from recwire.v1.filter_pb2 import Filter as FilterMessage
from recwire.v1.filter_pb2 import NumberRange
from recwire.v1.item_pb2 import StringSet
from recwire_server.filter import AnyOf, Boost, Condition, Equals, Filter, Range
from recwire_server.service.field import FieldCheck
from recwire_server.service.filter_message import boosts_from, condition_from, filter_from

IS_NEW = ConditionMessage(attribute="new", equals=True)


def violations_of_filter(message: FilterMessage) -> dict[str, str]:
    """Descriptions by path, of a filter at options.filter."""
    check = FieldCheck(dim=4)
    filter_from(message, "options.filter", check)
    return {violation.field: violation.description for violation in check.violations}


def violations_of_boosts(*messages: BoostMessage) -> dict[str, str]:
    """Descriptions by path, of boosts at options.boosts."""
    check = FieldCheck(dim=4)
    boosts_from(messages, "options.boosts", check)
    return {violation.field: violation.description for violation in check.violations}


def any_of(*values: str) -> ConditionMessage:
    return ConditionMessage(attribute="brand", any_of=StringSet(values=values))


def within(**bounds: float) -> ConditionMessage:
    return ConditionMessage(attribute="price", range=NumberRange(**bounds))


def test_a_filter_means_what_it_says() -> None:
    """Every kind of test, in all three lists, in order; an unset bound is open and zero is a bound."""
    check = FieldCheck(dim=4)
    message = FilterMessage(
        must=[any_of("Acme", "Best", "Acme"), within(gt=0, lte=9.5)], should=[IS_NEW], must_not=[within(gte=-1, lt=2)]
    )

    filter = filter_from(message, "options.filter", check)

    check.finish()
    assert filter == Filter(
        must=(
            Condition("brand", AnyOf(frozenset({"Acme", "Best"}))),
            Condition("price", Range(gt=0.0, lte=9.5)),
        ),
        should=(Condition("new", Equals(True)),),
        must_not=(Condition("price", Range(gte=-1.0, lt=2.0)),),
    )


def test_an_empty_filter_is_empty() -> None:
    """No condition is no violation."""
    check = FieldCheck(dim=4)
    assert filter_from(FilterMessage(), "options.filter", check).is_empty
    check.finish()


def test_equals_false_is_a_test() -> None:
    """A flag that must be false is told from no test."""
    check = FieldCheck(dim=4)
    message = ConditionMessage(attribute="used", equals=False)
    assert condition_from(message, "when", check) == Condition("used", Equals(False))
    check.finish()


def test_boosts_keep_their_order() -> None:
    """Boosts mean what they say, one by one."""
    check = FieldCheck(dim=4)
    messages = [BoostMessage(when=IS_NEW, add=0.5), BoostMessage(when=any_of("Acme"), add=-1e6)]

    boosts = boosts_from(messages, "options.boosts", check)

    check.finish()
    assert boosts == (
        Boost(Condition("new", Equals(True)), 0.5),
        Boost(Condition("brand", AnyOf(frozenset({"Acme"}))), -1e6),
    )


@pytest.mark.parametrize("part", ["must", "should", "must_not"])
@pytest.mark.parametrize(
    ("condition", "path", "description"),
    [
        (ConditionMessage(equals=True), ".attribute", "is empty; an id has 1-256 bytes"),
        (ConditionMessage(attribute="é" * 129, equals=True), ".attribute", "has 258 bytes; the limit is 256"),
        (ConditionMessage(attribute="x"), "", "has no test; set one of any_of, range, equals"),
        (any_of(), ".any_of.values", "has 0 entries; 1-1,000 are allowed"),
        (any_of(*["x"] * 1_001), ".any_of.values", "has 1,001 entries; 1-1,000 are allowed"),
        (any_of("a", "é" * 16_385), ".any_of.values[1]", "has 32,770 bytes; the limit is 32,768"),
        (within(), ".range", "has no bound; set at least one of gt, gte, lt, lte"),
        (within(gt=math.nan), ".range.gt", "is nan; give a finite number"),
        (within(gte=-math.inf), ".range.gte", "is -inf; give a finite number"),
        (within(lt=math.inf), ".range.lt", "is inf; give a finite number"),
        (within(lte=math.nan, gt=1), ".range.lte", "is nan; give a finite number"),
    ],
)
def test_a_wrong_condition_is_named_by_its_path(
    part: str, condition: ConditionMessage, path: str, description: str
) -> None:
    """The path leads to the field within its condition within its list."""
    message = FilterMessage(**{part: [IS_NEW, IS_NEW, condition]})
    assert violations_of_filter(message) == {f"options.filter.{part}[2]{path}": description}


def test_every_wrong_field_is_named_at_once() -> None:
    """The sender can mend all of a filter in one go."""
    message = FilterMessage(must=[ConditionMessage()], must_not=[within(gt=math.nan, lt=math.inf)])
    assert list(violations_of_filter(message)) == [
        "options.filter.must[0].attribute",
        "options.filter.must[0]",
        "options.filter.must_not[0].range.gt",
        "options.filter.must_not[0].range.lt",
    ]


@pytest.mark.parametrize(
    "condition",
    [
        ConditionMessage(attribute="x" * 256, equals=True),
        any_of(""),
        any_of(*map(str, range(1_000))),
        any_of("x" * 32_768),
        within(gt=5, lt=3),
        within(gt=-1.7e308, gte=0, lt=1.7e308, lte=0),
    ],
)
def test_bounds_belong_to_what_is_allowed(condition: ConditionMessage) -> None:
    """The greatest and least values pass, and so does a range that no number lies in."""
    assert violations_of_filter(FilterMessage(must=[condition])) == {}


@pytest.mark.parametrize("part", ["must", "should", "must_not"])
def test_a_list_has_at_most_64_conditions(part: str) -> None:
    """64 pass, 65 are refused under the list's path."""
    assert violations_of_filter(FilterMessage(**{part: [IS_NEW] * 64})) == {}
    assert violations_of_filter(FilterMessage(**{part: [IS_NEW] * 65})) == {
        f"options.filter.{part}": "has 65 entries; 0-64 are allowed"
    }


def test_there_are_at_most_32_boosts() -> None:
    """32 pass, 33 are refused under the list's path."""
    boost = BoostMessage(when=IS_NEW, add=1)
    assert violations_of_boosts(*[boost] * 32) == {}
    assert violations_of_boosts(*[boost] * 33) == {"options.boosts": "has 33 entries; 0-32 are allowed"}


@pytest.mark.parametrize(
    ("boost", "path", "description"),
    [
        (BoostMessage(add=1), ".when", "is not set; say which items the boost is for"),
        (BoostMessage(when=IS_NEW, add=math.nan), ".add", "is nan; give a finite number"),
        (BoostMessage(when=IS_NEW, add=-math.inf), ".add", "is -inf; give a finite number"),
        (BoostMessage(when=IS_NEW, add=-2e6), ".add", "is -2e+06; the limit is 1e+06 in size"),
        (BoostMessage(when=IS_NEW, add=2e6), ".add", "is 2e+06; the limit is 1e+06 in size"),
        (BoostMessage(when=within(gt=math.nan), add=1), ".when.range.gt", "is nan; give a finite number"),
        (
            BoostMessage(when=ConditionMessage(attribute="x"), add=1),
            ".when",
            "has no test; set one of any_of, range, equals",
        ),
    ],
)
def test_a_wrong_boost_is_named_by_its_path(boost: BoostMessage, path: str, description: str) -> None:
    """The path leads to the field within its boost."""
    fine = BoostMessage(when=IS_NEW, add=1)
    assert violations_of_boosts(fine, boost) == {f"options.boosts[1]{path}": description}
