"""What the project promises of its int8, beside what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.encoder.speed import KINDS


@dataclass(frozen=True)
class Target:
    """A promise. at_least: else `limit` is the most that `measured` may be. quartiles: of `measured` over the rounds;
    None without rounds."""

    what: str
    limit: float
    at_least: bool
    measured: float
    quartiles: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def targets(int8: Mapping[str, Any]) -> list[Target]:
    """Return the promises; int8: recwire's contender as the result has it."""
    quality, speed = int8["quality"], int8["speed"]["encode"]
    return [
        Target("mean cosine to fp32", 0.9985, True, quality["mean_cosine"]),
        Target("top-10 neighbours kept", 0.955, True, quality["neighbours_kept"]),
        Target("alone against in a batch", 1e-6, False, quality["batch_difference"]),
        *_speed_targets("ONNX Runtime fp32", 2.1, "to_fp32", speed),
        *_speed_targets("the naive loop", 50, "to_naive", speed),
    ]


def _speed_targets(than: str, limit: float, ratio: str, speed: Mapping[str, Any]) -> list[Target]:
    return [
        Target(f"times {than}, {KINDS[kind]}", limit, True, of_kind[ratio], of_kind[f"{ratio}_quartiles"])
        for kind, of_kind in speed.items()
        if of_kind[ratio] is not None
    ]
