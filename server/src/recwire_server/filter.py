"""Conditions on the attributes of items."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A text is one of these values, or a label is."""

    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Range:
    """A number lies in this range; None: open."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class Equals:
    """A flag has this value."""

    value: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one attribute. An item without it fails, as does one that has it with a value of another kind."""

    attribute: str
    test: AnyOf | Range | Equals


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items pass: all of `must` hold, one of `should` if there are any, none of `must_not`."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every item passes."""
        return not (self.must or self.should or self.must_not)


@dataclass(frozen=True, slots=True)
class Boost:
    """A business rule: what is added to the score of the items that match."""

    when: Condition
    add: float
