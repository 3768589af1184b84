"""How near an exported model is to the model that it was made from."""

from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from recwire_server.model.manifest import Fidelity


def measure_fidelity(exported: Path, original: Path, tokenizer: Tokenizer, pooling: str, texts: list[str]) -> Fidelity:
    """Return the cosine of the exported model's embeddings with the original's, each text alone.

    exported: gives embeddings. original: the same model before quantization and surgery, gives token vectors,
    which are pooled here once more, so that a fault in the graph surgery shows as well.
    """
    cosines = [
        float(ours @ theirs)
        for ours, theirs in zip(
            _embed(exported, tokenizer, pooling, texts),
            _embed(original, tokenizer, pooling, texts),
            strict=True,
        )
    ]
    return Fidelity(round(float(np.mean(cosines)), 5), round(min(cosines), 5), len(cosines))


def fidelity_texts() -> list[str]:
    """Return the built-in texts: titles, queries and sentences of many subjects, lengths and scripts."""
    path = resources.files("recwire_server.model") / "fidelity_texts.txt"
    return path.read_text(encoding="utf-8").splitlines()


def _embed(path: Path, tokenizer: Tokenizer, pooling: str, texts: list[str]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [graph_input.name for graph_input in session.get_inputs()]
    embeddings = []
    for encoding in tokenizer.encode_batch(texts):
        ids = np.array([encoding.ids], np.int64)
        feeds = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.arange(ids.shape[1])[np.newaxis],
        }
        output = session.run(None, {name: feeds[name] for name in names})[0][0]
        if output.ndim == 2:
            output = {"mean": output.mean(axis=0), "cls": output[0], "lasttoken": output[-1]}[pooling]
        embeddings.append(output / np.linalg.norm(output))
    return embeddings
