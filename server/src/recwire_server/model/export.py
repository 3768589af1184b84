"""The export pipeline: a source becomes a model folder.

Trace the model to ONNX, quantize it, put pooling into the graph, measure what that cost, describe it.
"""

import logging
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from recwire_server.model import ModelExportError, Report
from recwire_server.model.folder import new_model_folder
from recwire_server.model.manifest import (
    MODEL_FILE,
    TOKENIZER_FILE,
    Fidelity,
    Manifest,
    digest_files,
    write_manifest,
)
from recwire_server.model.recipe import Recipe
from recwire_server.model.settings import EmbeddingSettings
from recwire_server.model.source import Source

# The usual dynamic int8 measures .9935 on MiniLM; far below that a layer was damaged, not rounded.
MIN_MEAN_COSINE = 0.97


def build_model_folder(source: Source, recipe: Recipe, destination: Path, report: Report) -> Manifest:
    """Write the source's model folder to `destination`, whole or not at all, and return its manifest.

    Takes about 12 s for MiniLM, a good part of it to import torch. `report` is called with each step's name
    as the step begins. Needs the export extra. Raises ModelExportError.
    """
    settings = recipe.settings
    with (
        new_model_folder(destination) as folder,
        tempfile.TemporaryDirectory(prefix="recwire-export-") as work,
        _quiet_libraries(),
    ):
        original = _trace(source, Path(work), report)
        tokenizer = _plain_tokenizer(source, settings)
        tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
        dim = _write_graph(original, recipe, settings, folder / MODEL_FILE, report)
        report("compare with the original")
        fidelity = _check_fidelity(folder / MODEL_FILE, original, tokenizer, settings)
        manifest = Manifest(
            name=source.name,
            source=source.origin,
            source_hash=recipe.source_hash,
            recipe_key=recipe.key,
            dim=dim,
            max_tokens=settings.max_tokens,
            pooling=settings.pooling,
            query_prefix=settings.query_prefix,
            document_prefix=settings.document_prefix,
            precision=recipe.precision.value,
            quantization_target=recipe.quantization_target,
            batch_invariant=recipe.precision.batch_invariant,
            tool_versions=recipe.tool_versions,
            fidelity=fidelity,
            files=digest_files(folder),
        )
        write_manifest(folder, manifest)
    return manifest


def _trace(source: Source, work: Path, report: Report) -> Path:
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


def _plain_tokenizer(source: Source, settings: EmbeddingSettings) -> Tokenizer:
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


def _write_graph(original: Path, recipe: Recipe, settings: EmbeddingSettings, destination: Path, report: Report) -> int:
    """Write the graph that serves and return the embedding's dimension."""
    import onnx

    from recwire_server.model.pooling import add_pooling
    from recwire_server.model.quantization import quantize

    plain = original
    if recipe.quantization_target:
        report(f"quantize to int8 for {recipe.quantization_target}")
        plain = quantize(original.parent, recipe.quantization_target)
    report(f"add {settings.pooling} pooling and unit length")
    pooled = add_pooling(onnx.load(plain), settings.pooling)
    onnx.save(pooled, destination)
    return int(pooled.graph.output[0].type.tensor_type.shape.dim[1].dim_value)


def _check_fidelity(exported: Path, original: Path, tokenizer: Tokenizer, settings: EmbeddingSettings) -> Fidelity:
    from recwire_server.model.fidelity import fidelity_texts, measure_fidelity

    fidelity = measure_fidelity(exported, original, tokenizer, settings.pooling, fidelity_texts())
    if not fidelity.mean_cosine >= MIN_MEAN_COSINE:  # written so that NaN fails as well
        raise ModelExportError(
            f"the exported model's mean cosine to the original is {fidelity.mean_cosine}; at least "
            f"{MIN_MEAN_COSINE} is needed; export with --precision fp32"
        )
    return fidelity


@contextmanager
def _quiet_libraries() -> Iterator[None]:
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
