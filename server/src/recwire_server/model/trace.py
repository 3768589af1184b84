"""The source as Optimum and transformers read it: a traced graph and a tokenizer."""

import logging
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from recwire_server.model import ModelExportError, Report
from recwire_server.model.manifest import TOKENIZER_FILE
from recwire_server.model.settings import EmbeddingSettings
from recwire_server.model.source import Source


def trace(source: Source, work: Path, report: Report) -> Path:
    """Write the model as Optimum traces it, token vectors out, and return model.onnx's path."""
    report("load Optimum and torch")
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    report("trace the model to ONNX")
    try:
        ORTModelForFeatureExtraction.from_pretrained(source.folder, export=True).save_pretrained(work)
    except Exception as error:  # Optimum, transformers and torch raise whatever they like, at any length
        cause = textwrap.shorten(str(error), 200)
        raise ModelExportError(f"Optimum cannot export {source.origin}: {cause}") from error
    return work / "model.onnx"


def plain_tokenizer(source: Source, settings: EmbeddingSettings) -> Tokenizer:
    """Return the source's tokenizer, cutting at max_tokens, without the padding that some bake in."""
    path = source.folder / TOKENIZER_FILE
    tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else _converted_tokenizer(source)
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_tokens)
    if settings.lower_case:
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _converted_tokenizer(source: Source) -> Tokenizer:
    """Return the tokenizer that transformers makes of vocab.txt, or vocab.json and merges.txt."""
    import transformers

    loader: Any = transformers.AutoTokenizer
    try:
        return loader.from_pretrained(source.folder).backend_tokenizer
    except Exception as error:  # transformers raises whatever it likes, at any length
        cause = textwrap.shorten(str(error), 200)
        raise ModelExportError(
            f"{source.origin} has no {TOKENIZER_FILE}, and transformers cannot make one: {cause}"
        ) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the tracer's and transformers' warnings, which no operator can act on, off the terminal."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
