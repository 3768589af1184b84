"""From weights to the model folder that serves.

Read in this order: `cache` (find a model that is already exported, else have it made), `source` (where the weights come
from), `settings` (what the source says about itself), `texts` (what is calibrated and checked with), `recipe` (what the
result depends on, as one key), `export` (the pipeline), `trace` (the source as a graph), `original` (its vectors, to
compare with), `conversion` (the graph in each precision), `pooling` (token vectors to one embedding, inside the graph),
`simplification` (what need not be computed at every run), `int8` (a scale a token), `dynamic_int8` (the usual int8),
`float16`, `processor` (what integer weights must suit), `fidelity` (how near the result is to the original), `folder`
(a model folder appears whole or not at all), `manifest` (what a model folder says about itself; the only module here
that the encoder reads); `verification` measures a folder again later.

A model folder holds `model.onnx` (input_ids and attention_mask in, unit-length embedding out), its weights in
`model.onnx.data`, `tokenizer.json` and `manifest.json`. Only what `cache` imports late needs the export extra.

Errors: `ModelFolderError` (of `recwire_server.encoder`) for a folder that cannot be served,
`ModelExportError` for an export that cannot be made.
"""

from collections.abc import Callable

# Called with each step's name as the step begins.
Report = Callable[[str], None]


class ModelExportError(Exception):
    """A model cannot be exported; the message says why and what to do."""
