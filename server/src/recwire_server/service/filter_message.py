"""Filters and boosts on the wire, to what they mean."""

from collections.abc import Sequence

from recwire.v1 import filter_pb2
from recwire_server.filter import AnyOf, Boost, Condition, Equals, Filter, Range
from recwire_server.service.field import FieldCheck

# Each condition can read a number of every item while other requests wait: some 0.05 ms at 100,000 items.
MAX_CONDITIONS = 64
MAX_BOOSTS = 32
MAX_VALUES = 1_000  # as many as an item may have labels
MAX_ADD = 1e6  # far beyond any score: such a boost decides alone
BOUNDS = ("gt", "gte", "lt", "lte")


def filter_from(message: filter_pb2.Filter, field: str, check: FieldCheck) -> Filter:
    """Return what a message means; its violations go to check. field: the message's path."""
    return Filter(
        must=_conditions_from(message.must, f"{field}.must", check),
        should=_conditions_from(message.should, f"{field}.should", check),
        must_not=_conditions_from(message.must_not, f"{field}.must_not", check),
    )


def boosts_from(messages: Sequence[filter_pb2.Boost], field: str, check: FieldCheck) -> tuple[Boost, ...]:
    """Return what messages mean, in their order; their violations go to check. field: the path of the list."""
    check.count(field, messages, 0, MAX_BOOSTS)
    return tuple(_boost_from(message, f"{field}[{i}]", check) for i, message in enumerate(messages))


def condition_from(message: filter_pb2.Condition, field: str, check: FieldCheck) -> Condition:
    """Return what a message means; its violations go to check. field: the message's path."""
    return Condition(check.id(f"{field}.attribute", message.attribute), _test_from(message, field, check))


def _conditions_from(messages: Sequence[filter_pb2.Condition], field: str, check: FieldCheck) -> tuple[Condition, ...]:
    check.count(field, messages, 0, MAX_CONDITIONS)
    return tuple(condition_from(message, f"{field}[{i}]", check) for i, message in enumerate(messages))


def _boost_from(message: filter_pb2.Boost, field: str, check: FieldCheck) -> Boost:
    add = check.number(f"{field}.add", message.add, MAX_ADD)
    if not message.HasField("when"):
        check.add(f"{field}.when", "is not set; say which items the boost is for")
        return Boost(Condition("", AnyOf(frozenset())), add)
    return Boost(condition_from(message.when, f"{field}.when", check), add)


def _test_from(message: filter_pb2.Condition, field: str, check: FieldCheck) -> AnyOf | Range | Equals:
    match message.WhichOneof("test"):
        case "any_of":
            path, values = f"{field}.any_of.values", message.any_of.values
            check.count(path, values, 1, MAX_VALUES)
            return AnyOf(
                frozenset(check.text(f"{path}[{i}]", value, may_be_empty=True) for i, value in enumerate(values))
            )
        case "range":
            return _range_from(message.range, f"{field}.range", check)
        case "equals":
            return Equals(message.equals)
    check.add(field, "has no test; set one of any_of, range, equals")
    return AnyOf(frozenset())


def _range_from(message: filter_pb2.NumberRange, field: str, check: FieldCheck) -> Range:
    bounds = {
        bound: check.number(f"{field}.{bound}", getattr(message, bound)) for bound in BOUNDS if message.HasField(bound)
    }
    if not bounds:
        check.add(field, "has no bound; set at least one of gt, gte, lt, lte")
    return Range(**bounds)
