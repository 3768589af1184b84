"""What a source says about how its model turns a text into an embedding, and what the operator says instead.

Read from the files that sentence-transformers writes. A plain Hugging Face folder lacks them and gets mean
pooling, the limits of its own config and no prefixes, unless it is an e5 model: those were trained on texts
that begin with `query: ` or `passage: `, which most of them say in prose only.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recwire_server.model import ModelExportError
from recwire_server.model.source import Source

POOLING_MODES = ("mean", "cls", "lasttoken")
# Steps after the transformer that the exported graph has; unit length is always there.
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
# Their positions start after the padding id: of 514, 512 can be used.
OFFSET_POSITIONS = frozenset(
    {"roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "mpnet"}
)
# e5-base-v2, multilingual-e5-small; not e5-mistral-7b-instruct, whose queries begin with a task in prose.
E5_NAME = re.compile(r"(?!.*instruct)(.*[-_])?e5([-_].*)?", re.IGNORECASE)
E5_PREFIXES = ("query: ", "passage: ")


@dataclass(frozen=True)
class EmbeddingSettings:
    """What a text needs on its way to an embedding.

    max_tokens: of one sequence, special tokens included. pooling: one of POOLING_MODES. Prefixes may be empty.
    lower_case: whether a text is lower-cased whatever the tokenizer does.
    """

    max_tokens: int
    pooling: str
    query_prefix: str
    document_prefix: str
    lower_case: bool


@dataclass(frozen=True)
class SettingsOverrides:
    """What the operator says instead of the source; None leaves a setting as the source has it."""

    pooling: str | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None


def read_settings(source: Source, overrides: SettingsOverrides) -> EmbeddingSettings:
    """Return the source's settings, overridden. Raises ModelExportError for an unsupported kind of model."""
    pooling_folder = _pooling_folder(source.folder)
    query_prefix, document_prefix = _prefixes(source)
    settings = EmbeddingSettings(
        max_tokens=_max_tokens(source.folder),
        pooling=overrides.pooling or _pooling_mode(pooling_folder / "config.json"),
        query_prefix=query_prefix if overrides.query_prefix is None else overrides.query_prefix,
        document_prefix=document_prefix if overrides.document_prefix is None else overrides.document_prefix,
        lower_case=_sentence_config(source.folder).get("do_lower_case", False),
    )
    _check_prompt_is_pooled(pooling_folder / "config.json", settings)
    return settings


def _pooling_folder(folder: Path) -> Path:
    pooling = folder / "1_Pooling"
    for module in _read_json(folder / "modules.json", default=[]):
        kind = module["type"].rpartition(".")[2]
        if kind not in KNOWN_MODULES:
            raise ModelExportError(
                f"{folder / 'modules.json'} has a {kind} step; "
                f"{', '.join(KNOWN_MODULES)} can be exported; name another model"
            )
        if kind == "Pooling":
            pooling = folder / module["path"]
    return pooling


def _pooling_mode(path: Path) -> str:
    config = _read_json(path, default={"pooling_mode": "mean"})
    modes = config.get("pooling_mode")
    if modes is None:  # before sentence-transformers 5.4: one flag a mode
        names = {"mean_tokens": "mean", "cls_token": "cls"}
        chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        modes = [names.get(flag, flag) for flag in (key.removeprefix("pooling_mode_") for key in chosen)]
    mode = modes if isinstance(modes, str) else " + ".join(modes)
    if mode not in POOLING_MODES:
        raise ModelExportError(
            f"{path} asks for {mode} pooling; {_listed(POOLING_MODES)} can be exported; "
            "name another model, or override it with --pooling"
        )
    return mode


def _prefixes(source: Source) -> tuple[str, str]:
    config = _read_json(source.folder / "config_sentence_transformers.json", default={})
    # None is sentence-transformers' mark for a prompt that nobody set.
    prompts = {key: prompt or "" for key, prompt in config.get("prompts", {}).items()}
    if not any(prompts.values()) and _is_e5(source):
        return E5_PREFIXES
    default = prompts.get(config.get("default_prompt_name"), "")
    # The names, and their order, under which sentence-transformers' encode_document looks.
    document_key = next((key for key in ("document", "passage", "corpus") if key in prompts), None)
    return prompts.get("query", default), prompts.get(document_key, default)


def _is_e5(source: Source) -> bool:
    trained_from = _read_json(source.folder / "config.json", default={}).get("_name_or_path", "")
    return any(E5_NAME.fullmatch(name) for name in (source.name, trained_from.rpartition("/")[2]))


def _max_tokens(folder: Path) -> int:
    config = _read_json(folder / "config.json", default={})
    names = ("max_position_embeddings", "n_positions", "n_ctx")  # the last two are GPT-2's
    positions = next((config[name] for name in names if config.get(name)), 512)
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= config.get("pad_token_id", 1) + 1
    limits = [
        positions,
        _sentence_config(folder).get("max_seq_length"),
        _read_json(folder / "tokenizer_config.json", default={}).get("model_max_length"),
    ]
    return int(min(limit for limit in limits if limit))


def _sentence_config(folder: Path) -> Any:
    # sentence_bert_config.json, or in older folders sentence_roberta_config.json and so on.
    return next((_read_json(path, default={}) for path in sorted(folder.glob("sentence_*_config.json"))), {})


def _check_prompt_is_pooled(path: Path, settings: EmbeddingSettings) -> None:
    prefixed = settings.query_prefix or settings.document_prefix
    if prefixed and settings.pooling != "lasttoken" and not _read_json(path, default={}).get("include_prompt", True):
        raise ModelExportError(
            f"{path} leaves the prefix out of pooling (include_prompt), which cannot be exported; name another model"
        )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise ModelExportError(f"{path} is not valid JSON: {error}") from error
