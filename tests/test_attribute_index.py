"""Which items pass a filter."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from recwire_server.attribute_index import AttributeIndex
from recwire_server.filter import AnyOf, Condition, Equals, Filter, Range
from recwire_server.item import AttributeValue

Attributes = Mapping[str, AttributeValue]

NAMES = ["a", "b"]
TEXTS = ["", "x", "y", "long " * 40, "long " * 41]
NUMBERS = [-1e300, -1.0, -0.0, 0.0, 0.5, 1.0, 5e-324]
# Labels apart, also so far that a bitmap has several blocks and a column of numbers is thin.
GAPS = [1, 1, 1, 2, 50, 70_000]

values = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.booleans(),
    st.lists(st.sampled_from(TEXTS), max_size=3).map(tuple),
)
items = st.lists(st.tuples(st.sampled_from(GAPS), st.dictionaries(st.sampled_from(NAMES), values)), max_size=40)
bounds = st.none() | st.sampled_from(NUMBERS)
conditions = st.builds(
    Condition,
    st.sampled_from([*NAMES, "unknown"]),
    st.one_of(
        st.frozensets(st.sampled_from([*TEXTS, "unknown"])).map(AnyOf),
        st.builds(Range, bounds, bounds, bounds, bounds),
        st.builds(Equals, st.booleans()),
    ),
)
condition_lists = st.lists(conditions, max_size=3).map(tuple)
filters = st.builds(Filter, condition_lists, condition_lists, condition_lists)


def holds(condition: Condition, attributes: Attributes) -> bool:
    """The condition as the contract words it, for one item."""
    value, test = attributes.get(condition.attribute), condition.test
    if isinstance(test, Equals):
        return isinstance(value, bool) and value == test.value
    if isinstance(test, AnyOf):
        texts = [value] if isinstance(value, str) else value if isinstance(value, tuple) else []
        return any(text in test.values for text in texts)
    return (
        isinstance(value, float)
        and (test.gt is None or value > test.gt)
        and (test.gte is None or value >= test.gte)
        and (test.lt is None or value < test.lt)
        and (test.lte is None or value <= test.lte)
    )


def passes(filter: Filter, attributes: Attributes) -> bool:
    """The filter as the contract words it, for one item."""
    return (
        all(holds(condition, attributes) for condition in filter.must)
        and (not filter.should or any(holds(condition, attributes) for condition in filter.should))
        and not any(holds(condition, attributes) for condition in filter.must_not)
    )


def index_of(items: Mapping[int, Attributes]) -> AttributeIndex:
    index = AttributeIndex()
    for label, attributes in items.items():
        index.add(label, attributes)
    return index


def matching(items: Mapping[int, Attributes], attribute: str, test: AnyOf | Range | Equals) -> list[int]:
    return list(index_of(items).matching(Condition(attribute, test)))


def any_of(*values: str) -> AnyOf:
    return AnyOf(frozenset(values))


@given(items, filters, st.sets(st.integers(0, 39)))
def test_items_pass_as_the_contract_says(items: list[tuple[int, Attributes]], filter: Filter, gone: set[int]) -> None:
    """Of the live labels those pass that pass one by one, whatever kinds an attribute has on different items."""
    label, attributes_by_label = -1, {}
    for gap, attributes in items:
        label += gap
        attributes_by_label[label] = attributes
    live = [label for i, label in enumerate(attributes_by_label) if i not in gone]

    passing = index_of(attributes_by_label).passing(filter, BitMap(live))

    assert list(passing) == [label for label in live if passes(filter, attributes_by_label[label])]


@given(st.lists(st.tuples(st.sampled_from([1, 1, 1, 1, 2, 3, 9]), st.floats(0, 1)), min_size=200), st.floats(0, 1))
def test_ranges_hold_however_full_a_column_of_numbers_is(rows: list[tuple[int, float]], least: float) -> None:
    """A number attribute of all, most or few items is compared number by number."""
    label, numbers = 1_000, {}
    for gap, number in rows:
        label += gap
        numbers[label] = number

    found = matching({label: {"price": number} for label, number in numbers.items()}, "price", Range(gte=least))

    assert found == [label for label, number in numbers.items() if number >= least]


@pytest.mark.parametrize("step", [1, 2, 7])
@pytest.mark.parametrize("first", [0, 65_535, 100_000])
@pytest.mark.parametrize("count", [4_096, 4_097, 65_535, 65_536])
def test_blocks_of_labels_are_found_whole(first: int, count: int, step: int) -> None:
    """A range finds as many labels as there are around the sizes at which a bitmap changes its form."""
    labels = range(first, first + count * step, step)
    assert matching({label: {"price": 1.0} for label in labels}, "price", Range(gt=0)) == list(labels)


def test_should_needs_one_and_must_not_none() -> None:
    """must: all hold; should: one is enough; must_not: none."""
    index = index_of(
        {
            0: {"brand": "Acme", "price": 5.0},
            1: {"brand": "Acme", "price": 5.0, "used": True},
            2: {"brand": "Best", "price": 5.0},
            3: {"brand": "Best", "price": 50.0},
            4: {"brand": "Cool", "price": 5.0},
        }
    )
    filter = Filter(
        must=(Condition("price", Range(lt=10)),),
        should=(Condition("brand", any_of("Acme")), Condition("brand", any_of("Best"))),
        must_not=(Condition("used", Equals(True)),),
    )
    assert list(index.passing(filter, BitMap(range(5)))) == [0, 2]


def test_an_empty_filter_passes_all_live_labels() -> None:
    """Also those without any attribute, and none that is not live."""
    index = index_of({0: {"brand": "Acme"}, 1: {}, 2: {"brand": "Acme"}})
    assert Filter().is_empty
    assert list(index.passing(Filter(), BitMap([1, 2, 7]))) == [1, 2, 7]


def test_an_item_without_the_attribute_fails_the_test() -> None:
    """So it passes must_not."""
    index = index_of({0: {"used": True}, 1: {}})
    used = (Condition("used", Equals(True)),)
    live = BitMap([0, 1])
    assert list(index.passing(Filter(must=used), live)) == [0]
    assert list(index.passing(Filter(must_not=used), live)) == [1]
    assert list(index.passing(Filter(must=(Condition("used", Equals(False)),)), live)) == []


def test_a_test_of_another_kind_fails() -> None:
    """One name may be a text, a number, a flag and labels on different items; each test sees its own kind."""
    items: dict[int, Attributes] = {
        0: {"x": "1"},
        1: {"x": 1.0},
        2: {"x": True},
        3: {"x": ("1", "2")},
        4: {"x": "True"},
    }
    assert matching(items, "x", any_of("1")) == [0, 3]
    assert matching(items, "x", Range(gte=1, lte=1)) == [1]
    assert matching(items, "x", Equals(True)) == [2]


def test_labels_given_twice_count_once() -> None:
    """Labels are a set."""
    assert matching({0: {"genres": ("Noir", "Noir")}, 1: {"genres": ("Noir",)}}, "genres", any_of("Noir")) == [0, 1]


def test_bounds_are_as_strict_as_their_names() -> None:
    """gt and lt leave the bound out, gte and lte hold it; a range that is empty finds nothing."""
    items = {label: {"year": float(label)} for label in range(5)}
    assert matching(items, "year", Range(gt=1, lt=3)) == [2]
    assert matching(items, "year", Range(gte=1, lte=3)) == [1, 2, 3]
    assert matching(items, "year", Range(gt=1, gte=2)) == [2, 3, 4]
    assert matching(items, "year", Range(gt=5, lt=3)) == []


def test_a_range_without_bounds_holds_for_every_number() -> None:
    """Items without the number, between others that have it, fail it all the same."""
    assert matching({0: {"year": 1.0}, 1: {}, 2: {"year": 2.0}, 9: {"used": True}}, "year", Range()) == [0, 2]


def test_long_texts_are_told_apart_by_their_ends() -> None:
    """A text is compared whole, however long."""
    items: dict[int, Attributes] = {0: {"text": "é" * 30_000 + "a"}, 1: {"text": "é" * 30_000 + "b"}}
    assert matching(items, "text", any_of("é" * 30_000 + "b")) == [1]


def test_answers_are_the_callers_own() -> None:
    """What a caller does with an answer, or with its live labels, changes no later answer."""
    index = index_of({0: {"brand": "Acme", "used": True}, 1: {"brand": "Acme", "used": True}})
    live = BitMap([0, 1])
    for condition in (Condition("brand", any_of("Acme")), Condition("used", Equals(True))):
        index.matching(condition).clear()
        index.passing(Filter(must=(condition,)), live).clear()
        index.passing(Filter(), live).clear()
        assert list(index.passing(Filter(must=(condition,)), live)) == [0, 1]


def test_labels_only_ascend() -> None:
    """A label that is not greater than those before is a caller's bug."""
    index = index_of({0: {}, 3: {}})
    with pytest.raises(AssertionError, match="label 3 comes after 3"):
        index.add(3, {})
