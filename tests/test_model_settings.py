"""What is read from a source's files, and what the operator says instead."""

import json
from pathlib import Path

import pytest

from recwire_server.model import ModelExportError
from recwire_server.model.settings import EmbeddingSettings, SettingsOverrides, read_settings
from recwire_server.model.source import Source


def settings_of(folder: Path, name: str = "some-model", **overrides: str) -> EmbeddingSettings:
    return read_settings(Source(name, name, folder), SettingsOverrides(**overrides))


def write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def prefixes(settings: EmbeddingSettings) -> tuple[str, str]:
    return settings.query_prefix, settings.document_prefix


def test_plain_folder_gets_mean_pooling_and_no_prefixes(tmp_path):
    """Without sentence-transformers' files, only the limits are read."""
    write(tmp_path / "config.json", {"model_type": "bert", "max_position_embeddings": 512})
    write(tmp_path / "tokenizer_config.json", {"model_max_length": 128})

    assert settings_of(tmp_path) == EmbeddingSettings(128, "mean", "", "", lower_case=False)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode": ["lasttoken"]}, "lasttoken"),
    ],
)
def test_pooling_mode_is_read_in_both_spellings(config, expected, tmp_path):
    """sentence-transformers' old flags and its new name mean the same."""
    write(tmp_path / "1_Pooling" / "config.json", config)

    assert settings_of(tmp_path).pooling == expected


def test_pooling_folder_is_the_one_that_modules_json_names(tmp_path):
    """The pooling step's path says where its config is, in old and new type names."""
    for kind in ("sentence_transformers.models.Pooling", "sentence_transformers.base.modules.pooling.Pooling"):
        write(tmp_path / "modules.json", [{"idx": 1, "path": "pool", "type": kind}])
        write(tmp_path / "pool" / "config.json", {"pooling_mode": "cls"})

        assert settings_of(tmp_path).pooling == "cls"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_max_tokens": True}, "max_tokens pooling"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, r"mean \+ max_tokens pooling"),
        ({"pooling_mode": "weightedmean"}, "weightedmean pooling; mean, cls and lasttoken can be exported"),
    ],
)
def test_other_pooling_is_refused_by_name_unless_overridden(config, message, tmp_path):
    """Pooling that the graph cannot do is an error that names it; --pooling takes another."""
    write(tmp_path / "1_Pooling" / "config.json", config)

    with pytest.raises(ModelExportError, match=message):
        settings_of(tmp_path)
    assert settings_of(tmp_path, pooling="mean").pooling == "mean"


def test_steps_after_pooling_are_refused_by_name(tmp_path):
    """A step that the graph does not have, such as Dense, is an error that names it."""
    write(tmp_path / "modules.json", [{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])

    with pytest.raises(ModelExportError, match="Dense step"):
        settings_of(tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"prompts": {"query": "q: ", "document": "d: "}}, ("q: ", "d: ")),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, ("q: ", "p: ")),
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, ("q: ", "c: ")),
        ({"prompts": {"query": "q: ", "document": ""}}, ("q: ", "")),
        ({"prompts": {"query": None, "document": None}}, ("", "")),
        ({"prompts": {"topic": "t: "}}, ("", "")),
        ({"prompts": {"topic": "t: "}, "default_prompt_name": "topic"}, ("t: ", "t: ")),
        ({"prompts": {"query": "q: "}, "default_prompt_name": "query"}, ("q: ", "q: ")),
        ({"default_prompt_name": None}, ("", "")),
    ],
)
def test_prefixes_are_the_prompts_that_sentence_transformers_takes(config, expected, tmp_path):
    """A purpose has the prompt of its names, else the default prompt, else none."""
    write(tmp_path / "config_sentence_transformers.json", config)

    assert prefixes(settings_of(tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "trained_from", "is_e5"),
    [
        ("e5-base-v2", "", True),
        ("multilingual-e5-small", "", True),
        ("shop-titles", "intfloat/multilingual-e5-base", True),
        ("e5-mistral-7b-instruct", "", False),
        ("multilingual-e5-large-instruct", "", False),
        ("all-MiniLM-L6-v2", "nreimers/MiniLM-L6-H384-uncased", False),
        ("page5-small", "", False),
    ],
)
def test_e5_models_get_the_prefixes_they_were_trained_on(name, trained_from, is_e5, tmp_path):
    """A model named e5, or made from one, takes `query: ` and `passage: ` where its files have no prompts."""
    write(tmp_path / "config.json", {"_name_or_path": trained_from})
    write(tmp_path / "config_sentence_transformers.json", {"prompts": {"query": "", "document": ""}})

    assert prefixes(settings_of(tmp_path, name)) == (("query: ", "passage: ") if is_e5 else ("", ""))


def test_overrides_win(tmp_path):
    """What the operator says wins over prompts and names, also where it is nothing."""
    overridden = settings_of(tmp_path, "e5-small", pooling="cls", query_prefix="", document_prefix="text: ")

    assert overridden.pooling == "cls"
    assert prefixes(overridden) == ("", "text: ")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "gpt2", "n_positions": 1024, "n_ctx": 1024}, 1024),
        ({"model_type": "openai-gpt", "n_ctx": 256}, 256),
    ],
)
def test_limit_is_the_number_of_usable_positions(config, expected, tmp_path):
    """Each family's own name for its positions is read, less those that padding takes."""
    write(tmp_path / "config.json", config)

    assert settings_of(tmp_path).max_tokens == expected


@pytest.mark.parametrize("name", ["sentence_bert_config.json", "sentence_roberta_config.json"])
def test_limit_and_lower_case_are_sentence_transformers(name, tmp_path):
    """max_seq_length and do_lower_case are read from the file of either name."""
    write(tmp_path / name, {"max_seq_length": 75, "do_lower_case": True})

    settings = settings_of(tmp_path)

    assert (settings.max_tokens, settings.lower_case) == (75, True)


def test_prefix_that_pooling_leaves_out_is_refused(tmp_path):
    """A model whose pooling skips the prefix would get other embeddings, and is refused unless it has no prefix."""
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})

    assert settings_of(tmp_path).pooling == "mean"
    with pytest.raises(ModelExportError, match="include_prompt"):
        settings_of(tmp_path, query_prefix="Represent the query: ")
