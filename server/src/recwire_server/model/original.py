"""The float32 original's vectors, by a path of their own: token vectors from the traced graph, pooled in numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from recwire_server.encoder import Vector
from recwire_server.encoder.padding import padded


def embed_with_original(traced: Path, sequences: Sequence[Sequence[int]], pooling: str) -> Vector:
    """Return the vectors of the sequences, each run alone, (len(sequences), dim) of unit length.

    Not by the graph that serves, so that a fault in the graph surgery shows in the comparison.
    """
    session = onnxruntime.InferenceSession(traced, providers=["CPUExecutionProvider"])
    names = [graph_input.name for graph_input in session.get_inputs()]
    vectors = []
    for sequence in sequences:
        feeds = padded([sequence])
        feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        feeds["position_ids"] = np.arange(len(sequence))[np.newaxis]
        output: NDArray[np.float32] = session.run(["last_hidden_state"], {name: feeds[name] for name in names})[0][0]
        pooled = {"mean": output.mean(axis=0), "cls": output[0], "lasttoken": output[-1]}[pooling]
        vectors.append(pooled / np.linalg.norm(pooled))
    return np.stack(vectors)
