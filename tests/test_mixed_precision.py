"""What stays in float32: nothing if the whole passes, else the least that helps, most harm for least work first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recwire_server.model.int8.graph import QuantizedSite
from recwire_server.model.int8.mixed_precision import choose_integer_sites
from recwire_server.model.int8.scaling import Scaling
from recwire_server.model.int8.site import Projection, Site


def make_site(number: int, size: int) -> QuantizedSite:
    weights = np.zeros((size, 1), np.float32)
    scaling = Scaling(np.ones(size, np.float32), 128, np.ones(1, np.float32))
    return QuantizedSite(Site(f"x{number}", [Projection(str(number), weights, "")]), scaling, weights.astype(np.int8))


@dataclass
class Model:
    """A model whose sites each cost some cosine, which add up; counts what is asked of it."""

    harms: Sequence[float]
    sizes: Sequence[int]
    limit: float
    passes_asked: int = 0
    cosines_asked: int = 0
    sites: Sequence[QuantizedSite] = field(init=False)

    def __post_init__(self) -> None:
        self.sites = [make_site(number, size) for number, size in enumerate(self.sizes)]

    def passes(self, some: Sequence[QuantizedSite]) -> bool:
        self.passes_asked += 1
        return self.harm(some) <= self.limit

    def cosine(self, some: Sequence[QuantizedSite]) -> float:
        self.cosines_asked += 1
        return 1 - self.harm(some)

    def harm(self, some: Sequence[QuantizedSite]) -> float:
        return math.fsum(self.harms[number] for number in numbers(some))

    def choose(self) -> list[int]:
        return numbers(choose_integer_sites(self.sites, self.passes, self.cosine))


def numbers(some: Sequence[QuantizedSite]) -> list[int]:
    return [int(one.site.name) for one in some]


def by_harm_for_the_work(model: Model) -> list[int]:
    return sorted(range(len(model.sites)), key=lambda number: -model.harms[number] / model.sizes[number])


# Powers of two, so that an order by harm for the work is the same before and after it is taken from one.
harms = st.integers(1, 12).map(lambda exponent: 2.0**-exponent)
models: Callable[..., Model] = st.integers(1, 24).flatmap(
    lambda count: st.builds(
        Model,
        harms=st.lists(harms, min_size=count, max_size=count),
        sizes=st.lists(st.sampled_from([1, 4, 16]), min_size=count, max_size=count),
        limit=st.floats(0, 4),
    )
)


@settings(deadline=None)
@given(model=models)
def test_choice_passes(model):
    """What stays in int8 passes, in the order of the model; nothing at all is the original, which always does."""
    chosen = model.choose()

    assert chosen == sorted(chosen)
    assert sum(model.harms[number] for number in chosen) <= model.limit + 1e-12


@settings(deadline=None)
@given(model=models)
def test_no_more_leave_than_it_takes_in_the_order_of_harm_for_the_work(model):
    """The sites that leave are the first by the harm that they do for the work that they save, and with one fewer the
    model would not pass."""
    chosen = model.choose()

    left = [number for number in by_harm_for_the_work(model) if number not in chosen]
    assert left == by_harm_for_the_work(model)[: len(left)]
    if left:
        assert not model.passes([*(model.sites[number] for number in chosen), model.sites[left[-1]]])


@settings(deadline=None)
@given(model=models)
def test_measurements_are_few(model):
    """One measurement where all pass; else one a site, and as many as halving takes to find how many must leave."""
    chosen = model.choose()

    count = len(model.sites)
    if len(chosen) == count:
        assert (model.passes_asked, model.cosines_asked) == (1, 0)
    else:
        assert model.cosines_asked == count
        assert model.passes_asked <= 1 + math.ceil(math.log2(count))


def test_no_site_is_quantized_where_each_is_too_much():
    """Where even the best site in int8 is too much, none is."""
    assert Model(harms=[0.5, 0.25, 0.125], sizes=[1, 1, 1], limit=0.01).choose() == []


def test_only_the_harmful_site_leaves():
    """One site that ruins the model stays in float32, all others become integers."""
    assert Model(harms=[0.01, 0.01, 0.5, 0.01], sizes=[4, 4, 4, 4], limit=0.1).choose() == [0, 1, 3]


def test_small_site_leaves_before_a_large_one():
    """Of two sites that do the same harm, the one that saves less work stays in float32."""
    assert Model(harms=[0.25, 0.25], sizes=[16, 4], limit=0.3).choose() == [0]


def test_model_without_sites_has_nothing_to_choose():
    """No sites are no error, whatever the model is worth."""
    assert choose_integer_sites([], lambda some: False, lambda some: 0.0) == []
