"""What must stay in float32 to keep the fidelity that was asked for."""

from collections.abc import Callable, Sequence

from recwire_server.model.int8.graph import QuantizedSite

Passes = Callable[[Sequence[QuantizedSite]], bool]
"""Tells whether the model with these sites in int8 is near enough to the original."""

Cosine = Callable[[Sequence[QuantizedSite]], float]
"""Returns the mean cosine to the original of the model with these sites in int8."""


def choose_integer_sites(quantized: Sequence[QuantizedSite], passes: Passes, cosine: Cosine) -> list[QuantizedSite]:
    """Return the sites to quantize, in order: all if that passes, else all but as few as it takes.

    Sites leave in the order of the cosine that each costs alone, for the work that it saves. Costs one measurement
    where all pass; else one a site, and a few more to find how many must leave.
    """
    if passes(quantized):
        return list(quantized)
    harm = [(1 - cosine([one])) / one.integers.size for one in quantized]
    most_harmful = sorted(range(len(quantized)), key=lambda number: -harm[number])
    too_few, enough = 0, len(quantized)  # none left in int8 is the original
    while enough - too_few > 1:
        count = (too_few + enough) // 2
        if passes(_without(quantized, most_harmful[:count])):
            enough = count
        else:
            too_few = count
    return _without(quantized, most_harmful[:enough])


def _without(quantized: Sequence[QuantizedSite], left_out: Sequence[int]) -> list[QuantizedSite]:
    return [one for number, one in enumerate(quantized) if number not in left_out]
