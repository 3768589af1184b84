"""Int8 whose vectors do not depend on the batch: every token's activations have a scale of their own.

Read in this order: `quantize` (the whole way), `site` (what can be quantized in a graph), `statistics` (what flows
through it), `scaling` (how activations and weights share the range of int8), `rounding` (weights to integers), `graph`
(the integer operators), `mixed_precision` (what must stay in float32 to keep the fidelity that was asked for).
"""
