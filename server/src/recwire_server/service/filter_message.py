"""Filters and boosts on the wire, to what they mean."""

from collections.abc import Iterable

from recwire.v1 import filter_pb2
from recwire_server.filter import AnyOf, Boost, Condition, Equals, Filter, Range
from recwire_server.service.field import FieldCheck

MAX_CONDITIONS, MAX_VALUES, MAX_BOOSTS = 64, 1_000, 32
MAX_ADD = 1e6


def filter_from(message: filter_pb2.Filter, field: str, check: FieldCheck) -> Filter:
    """Return what a filter means; its violations go to check."""
    return Filter(
        must=_conditions(message.must, f"{field}.must", check),
        should=_conditions(message.should, f"{field}.should", check),
        must_not=_conditions(message.must_not, f"{field}.must_not", check),
    )


def boosts_from(messages: Iterable[filter_pb2.Boost], field: str, check: FieldCheck) -> tuple[Boost, ...]:
    """Return what boosts mean; their violations go to check."""
    boosts = tuple(
        Boost(
            condition_from(message.when, f"{field}[{i}].when", check),
            check.number(f"{field}[{i}].add", message.add, MAX_ADD),
        )
        for i, message in enumerate(messages)
    )
    check.count(field, boosts, 0, MAX_BOOSTS)
    return boosts


def condition_from(message: filter_pb2.Condition, field: str, check: FieldCheck) -> Condition:
    """Return what a condition means; its violations go to check."""
    attribute = check.id(f"{field}.attribute", message.attribute)
    match message.WhichOneof("test"):
        case "any_of":
            check.count(f"{field}.any_of.values", message.any_of.values, 1, MAX_VALUES)
            values = enumerate(message.any_of.values)
            texts = (check.text(f"{field}.any_of.values[{i}]", value, may_be_empty=True) for i, value in values)
            return Condition(attribute, AnyOf(frozenset(texts)))
        case "range":
            return Condition(attribute, _range(message.range, f"{field}.range", check))
        case "equals":
            return Condition(attribute, Equals(message.equals))
    check.add(field, "has no test; set one of any_of, range, equals")
    return Condition(attribute, Equals(False))


def _conditions(messages: Iterable[filter_pb2.Condition], field: str, check: FieldCheck) -> tuple[Condition, ...]:
    conditions = tuple(condition_from(message, f"{field}[{i}]", check) for i, message in enumerate(messages))
    check.count(field, conditions, 0, MAX_CONDITIONS)
    return conditions


def _range(message: filter_pb2.NumberRange, field: str, check: FieldCheck) -> Range:
    bounds = {
        name: check.number(f"{field}.{name}", getattr(message, name))
        for name in ("gt", "gte", "lt", "lte")
        if message.HasField(name)
    }
    if not bounds:
        check.add(field, "has no bound; set one or more of gt, gte, lt, lte")
    return Range(**bounds)
