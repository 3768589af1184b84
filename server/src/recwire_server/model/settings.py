"""What a source says about how its model turns a text into an embedding.

Read from the files that sentence-transformers writes; a plain Hugging Face folder lacks them and gets mean
pooling, no prefixes and the limits of its own config.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recwire_server.model import ModelExportError

POOLING_MODES = ("mean", "cls")
# Steps after the transformer that the exported graph has; unit length is always there.
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class EmbeddingSettings:
    """What a text needs on its way to an embedding.

    max_tokens: of one sequence, special tokens included. pooling: "mean" or "cls". Prefixes may be empty.
    """

    max_tokens: int
    pooling: str
    query_prefix: str
    document_prefix: str


def read_settings(folder: Path) -> EmbeddingSettings:
    """Return the source folder's settings. Raises ModelExportError for an unsupported kind of model."""
    for module in _read_json(folder / "modules.json", default=[]):
        if (kind := module["type"].rpartition(".")[2]) not in KNOWN_MODULES:
            raise ModelExportError(
                f"{folder / 'modules.json'} has a {kind} step; "
                f"{', '.join(KNOWN_MODULES)} can be exported; name another model"
            )
    prompts = _read_json(folder / "config_sentence_transformers.json", default={}).get("prompts", {})
    return EmbeddingSettings(
        max_tokens=_max_tokens(folder),
        pooling=_pooling_mode(folder / "1_Pooling" / "config.json"),
        query_prefix=prompts.get("query", ""),
        document_prefix=prompts.get("document", prompts.get("passage", "")),
    )


def _max_tokens(folder: Path) -> int:
    config = _read_json(folder / "config.json", default={})
    positions = config.get("max_position_embeddings", 512)
    if "roberta" in config.get("model_type", ""):
        # RoBERTa's positions start after the padding id: of 514, 512 can be used.
        positions -= config.get("pad_token_id", 1) + 1
    limits = [
        positions,
        _read_json(folder / "sentence_bert_config.json", default={}).get("max_seq_length"),
        _read_json(folder / "tokenizer_config.json", default={}).get("model_max_length"),
    ]
    return int(min(limit for limit in limits if limit))


def _pooling_mode(path: Path) -> str:
    config = _read_json(path, default={"pooling_mode": "mean"})
    mode = config.get("pooling_mode")
    if mode is None:  # before sentence-transformers 5.4: one flag a mode
        names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
        chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        mode = " + ".join(names.get(key, key.removeprefix("pooling_mode_")) for key in chosen)
    if mode not in POOLING_MODES:
        raise ModelExportError(f"{path} asks for {mode} pooling; {' and '.join(POOLING_MODES)} can be exported")
    return str(mode)


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise ModelExportError(f"{path} is not valid JSON: {error}") from error
