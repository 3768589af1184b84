"""Figures in prose: what is written, as a number with a unit, beside the value in a result that it is of.

    written:  NUMBER [UNIT]: "1.9 ms", ".97", "1,193 calls/s", "12 %", "1.5 GB"
    of:       PATH, PATH / PATH, min PATH or max PATH, in the `results` of a file
    PATH:     keys with dots between them, as they are, [n] for an element of a list (-1 is the last), * for all of a
              level: "recall.sizes.10000.contenders.graph.*.recall"; of several values there is the min or the max

A value's own unit is the end of its last key: _us, _ms, _s, _bytes, _mb, _per_s or _per_cpu_s; others have none. A
figure without a unit is in the value's own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUMBER = r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
# Each kind of unit: what a value in seconds, bytes, calls a second or nothing is multiplied by.
UNITS: Mapping[str, tuple[str, float]] = {
    "us": ("time", 1e6),
    "ms": ("time", 1e3),
    "s": ("time", 1.0),
    "bytes": ("size", 1.0),
    "KB": ("size", 1e-3),
    "MB": ("size", 1e-6),
    "GB": ("size", 1e-9),
    **{f"{what}/s": ("rate", 1.0) for what in ("calls", "texts", "items", "events", "updates")},
    "%": ("share", 100.0),
    "x": ("share", 1.0),
    "times": ("share", 1.0),
}
KEY_UNITS = {  # by the end of a key, the longest first: its kind, and what makes seconds or bytes of it
    "_per_cpu_s": ("rate", 1.0),
    "_per_s": ("rate", 1.0),
    "_us": ("time", 1e-6),
    "_ms": ("time", 1e-3),
    "_s": ("time", 1.0),
    "_bytes": ("size", 1.0),
    "_mb": ("size", 1e6),
}
WRITTEN = re.compile(rf"({NUMBER})(?:(\s?)({'|'.join(map(re.escape, UNITS))}))?")
KEY = re.compile(r"([^\[\]]+)((?:\[-?\d+\])*)")


class FigureError(ValueError):
    """A figure is not written by the grammar, or is of nothing; the message says what to mend."""


@dataclass(frozen=True)
class Value:
    """A value in seconds, bytes, calls a second, or without a unit (kind "share"). own: as the result has it."""

    amount: float
    kind: str
    own: float


def rewritten(written: str, of: str, results: Mapping[str, Any]) -> str:
    """Return the figure as the results have it, rounded as it was written. Raises FigureError."""
    number, space, unit = parsed(written)
    value = find_value(of, results)
    if unit is None:
        return _number(value.own, number)
    kind, factor = UNITS[unit]
    # What has no unit in its name may be a rate: "goodput".
    if kind != value.kind and (kind, value.kind) != ("rate", "share"):
        raise FigureError(f"{written!r} is a {kind}, but {of!r} a {value.kind}: write it in a unit of that kind")
    return f"{_number(value.amount * factor, number)}{space}{unit}"


def parsed(written: str) -> tuple[str, str, str | None]:
    """Return number, space and unit. Raises FigureError."""
    match = WRITTEN.fullmatch(written)
    if match is None or not match[1].strip("-"):
        raise FigureError(
            f"{written!r} is no figure: a number such as 1,234.5 or .97, and a unit of {', '.join(UNITS)}"
        )
    return match[1], match[2] or "", match[3]


def find_value(of: str, results: Mapping[str, Any]) -> Value:
    """Return the value that an expression is of. Raises FigureError."""
    dividend, slash, divisor = of.partition(" / ")
    if slash:
        one, other = find_value(dividend, results), find_value(divisor, results)
        if one.kind != other.kind or not other.amount:
            raise FigureError(f"{of!r} divides a {one.kind} by a {other.kind} of {other.amount}")
        ratio = one.amount / other.amount
        return Value(ratio, "share", ratio)
    word, _, path = of.partition(" ")
    choose = {"min": min, "max": max}.get(word)
    path = path if choose else of
    found = list(_found(path.split("."), results))
    numbers = [one for one in found if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) != len(found) or not found:
        raise FigureError(f"{of!r} is no number in the results")
    if len(numbers) > 1 and not choose:
        raise FigureError(f"{of!r} are {len(numbers)} values: write min or max before it")
    own = float(choose(numbers) if choose else numbers[0])
    kind, factor = _key_unit(path)
    return Value(own * factor, kind, own)


def _found(keys: Sequence[str], value: Any) -> Iterator[Any]:
    if not keys:
        yield value
    elif keys[0] == "*":
        for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
            yield from _found(keys[1:], one)
    elif (match := KEY.fullmatch(keys[0])) is not None:
        try:
            value = value[match[1]]
            for place in re.findall(r"-?\d+", match[2]):
                value = value[int(place)]
        except (LookupError, TypeError):
            return
        yield from _found(keys[1:], value)


def _key_unit(path: str) -> tuple[str, float]:
    key = path.rpartition(".")[2].partition("[")[0]
    return next((unit for ending, unit in KEY_UNITS.items() if key.endswith(ending)), ("share", 1.0))


def _number(value: float, as_written: str) -> str:
    """Return a number with as many decimals, and without a zero before the point if it was written so."""
    decimals = len(as_written.partition(".")[2])
    number = f"{value:,.{decimals}f}"
    is_bare = as_written.lstrip("-").startswith(".")
    return re.sub(r"^(-?)0\.", r"\1.", number) if is_bare else number
