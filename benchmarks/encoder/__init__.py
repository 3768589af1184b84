"""encoder: recwire's int8 beside what else one could embed with, quality and speed in the same run.

Real item texts, the same weights and token ids for all, one thread each. Quality is told against recwire's fp32, and
torch's float32 is among the contenders, so that a fault of the reference would show. Speed is texts a CPU second, in
rounds in which the contenders take turns.

Read in this order: `comparison` (the benchmark), `gpu` (the one there), `sample` (the texts), `material` (the weights,
traced once), `text_encoder` (what a contender is), `contender` (all of them), `torch_model` (torch at its best),
`quality`, `speed`, `target` (what is promised), `report` (how a result is shown).
"""

from benchmarks.encoder.comparison import run
from benchmarks.encoder.report import table

__all__ = ["run", "table"]
