"""Which items have which attributes, in columns."""

from collections.abc import Mapping

import numpy as np
from pyroaring import BitMap

from recwire_server.column import Column
from recwire_server.filter import AnyOf, Condition, Equals, Filter, Range
from recwire_server.item import AttributeValue


class AttributeIndex:
    """Columns of attributes by label: for each text and label the set of labels that have it, for numbers an array.

    Labels are only added; those of items that are gone are the caller's to leave out. Belongs to the event loop.
    """

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, BitMap]] = {}
        self._flags: dict[str, dict[bool, BitMap]] = {}
        self._numbers: dict[str, Column[np.float64]] = {}

    def add(self, label: int, attributes: Mapping[str, AttributeValue]) -> None:
        """Add a new label's attributes."""
        for name, value in attributes.items():
            if isinstance(value, bool):
                self._flags.setdefault(name, {}).setdefault(value, BitMap()).add(label)
            elif isinstance(value, float | int):
                if name not in self._numbers:
                    self._numbers[name] = Column(np.float64, np.nan)
                self._numbers[name][label] = value
            else:
                sets = self._texts.setdefault(name, {})
                for text in [value] if isinstance(value, str) else value:
                    sets.setdefault(text, BitMap()).add(label)

    def matching(self, condition: Condition) -> BitMap:
        """Return the labels that pass a test, a set of one's own."""
        match condition.test:
            case AnyOf(values):
                sets = self._texts.get(condition.attribute, {})
                return BitMap.union(BitMap(), *(sets[value] for value in values if value in sets))
            case Equals(value):
                return BitMap(self._flags.get(condition.attribute, {}).get(value, ()))
            case Range() as range_:
                column = self._numbers.get(condition.attribute)
                return BitMap() if column is None else _within(column, range_)

    def passing(self, filter_: Filter, all_labels: BitMap) -> BitMap:
        """Return which of the labels pass a filter."""
        passing = BitMap(all_labels)
        for condition in filter_.must:
            passing &= self.matching(condition)
        if filter_.should:
            passing &= BitMap.union(*(self.matching(condition) for condition in filter_.should))
        for condition in filter_.must_not:
            passing -= self.matching(condition)
        return passing


def _within(column: Column[np.float64], range_: Range) -> BitMap:
    numbers = column.rows  # NaN, where there is none, fails every comparison
    mask = ~np.isnan(numbers)
    if range_.gt is not None:
        mask &= numbers > range_.gt
    if range_.gte is not None:
        mask &= numbers >= range_.gte
    if range_.lt is not None:
        mask &= numbers < range_.lt
    if range_.lte is not None:
        mask &= numbers <= range_.lte
    return BitMap(np.flatnonzero(mask).astype(np.uint32))
