"""Conditions on the attributes of items, and what hangs on them.

An item without the attribute, or with one of another kind than the test's, fails the test.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A text attribute is one of the values, or a label attribute has one of them."""

    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Range:
    """A number attribute is greater than gt, at least gte, less than lt and at most lte; None: no such bound."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class Equals:
    """A flag attribute has this value."""

    value: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of the attribute of this name."""

    attribute: str
    test: AnyOf | Range | Equals


@dataclass(frozen=True, slots=True)
class Filter:
    """Items pass for which all of must hold, one of should holds if any is given, and none of must_not holds."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every item passes for want of conditions."""
        return not (self.must or self.should or self.must_not)


@dataclass(frozen=True, slots=True)
class Boost:
    """What is added to the score of the items for which the condition holds; negative pushes down."""

    when: Condition
    add: float
