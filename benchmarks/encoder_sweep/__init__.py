"""encoder_sweep: texts a second and ms a call by length, batch, precision and threads, and the share of the peak.

recwire's sessions beside plain ONNX Runtime and torch (SDPA), on real token ids that are cut so that a batch has one
length. The peak is what the same machine multiplies at best in the same run; the model's own operations are counted
from its graph.

Read in this order: `sweep` (the benchmark), `peak` (what the machine can do), `contender` (who is compared),
`sequence` (what they run), `operations` (what that takes), `report` (how a result is shown).
"""

from benchmarks.encoder_sweep.report import plot, table
from benchmarks.encoder_sweep.sweep import run

__all__ = ["plot", "run", "table"]
