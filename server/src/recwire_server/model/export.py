"""The export pipeline: a source becomes a model folder.

Trace the model to ONNX, bring it to its precision with pooling in the graph, measure what that cost, describe it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recwire_server.encoder import Purpose, Vector
from recwire_server.encoder.device import Device
from recwire_server.encoder.padding import padded
from recwire_server.encoder.tokenization import Tokenization
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
from recwire_server.model.texts import SEED, long_texts, split_texts, tokenize_beginnings


@dataclass(frozen=True)
class _Trial:
    """What a model is compared with: the original's vectors of the check sequences, then of the calibration texts."""

    check: Sequence[Sequence[int]]
    original: Vector
    max_tokens: int

    def measure(self, model: Path | bytes) -> Fidelity:
        """Return the fidelity of a graph with pooling, a file or its bytes."""
        from recwire_server.encoder.session import load_session
        from recwire_server.model.fidelity import measure_fidelity

        session = load_session(model, Device.CPU, intra_op_threads=1)
        return measure_fidelity(
            lambda batch: session.run(["embedding"], padded(batch))[0], self.original, self.check, self.max_tokens
        )


def build_model_folder(
    source: Source, recipe: Recipe, texts: Sequence[str], destination: Path, report: Report
) -> Manifest:
    """Write the source's model folder to `destination`, whole or not at all, and return its manifest.

    texts: half of them, drawn by a fixed seed, calibrate int8, the others check the result. Takes about 40 s for MiniLM
    in int8. `report` is called with each step's name as the step begins. Needs the export extra. Raises
    ModelExportError, also if the model falls short of its precision's gate.
    """
    from recwire_server.model.conversion import convert
    from recwire_server.model.original import embed_with_original
    from recwire_server.model.trace import plain_tokenizer, quiet_libraries, trace

    settings, precision = recipe.settings, recipe.precision
    with (
        new_model_folder(destination) as folder,
        tempfile.TemporaryDirectory(prefix="recwire-export-") as work,
        quiet_libraries(),
    ):
        original = trace(source, Path(work), report)
        plain_tokenizer(source, settings).save(str(folder / TOKENIZER_FILE), pretty=False)
        tokenization = _tokenization(folder / TOKENIZER_FILE, settings)
        split = split_texts(texts)
        check, calibration = (
            tokenize_beginnings(tokenization.tokenize, split.check),
            tokenize_beginnings(tokenization.tokenize, split.calibration),
        )
        report("embed the check texts with the original")
        vectors = embed_with_original(original, [*check, *calibration], settings.pooling)
        trial = _Trial(check, vectors, settings.max_tokens)
        late = tokenize_beginnings(tokenization.tokenize, long_texts(split.calibration, settings.max_tokens))
        converted = convert(original, recipe, [*calibration, *late], SEED, trial.measure, folder / MODEL_FILE, report)
        report("compare with the original")
        fidelity = trial.measure(folder / MODEL_FILE)
        if shortfalls := precision.gate.shortfalls(fidelity):
            raise ModelExportError(
                f"{source.name} in {precision.value} falls short of its gate: {'; '.join(shortfalls)}; export with "
                "--precision fp32, or give --texts like those that will be embedded"
            )
        manifest = Manifest(
            name=source.name,
            source=source.origin,
            source_hash=recipe.source_hash,
            recipe_key=recipe.key,
            dim=vectors.shape[1],
            max_tokens=settings.max_tokens,
            pooling=settings.pooling,
            query_prefix=settings.query_prefix,
            document_prefix=settings.document_prefix,
            precision=precision.value,
            quantization_target=recipe.quantization_target,
            weight_bits=converted.weight_bits,
            float32_layers=converted.float32_layers,
            batch_invariant=precision.batch_invariant,
            calibration=recipe.texts_hash,
            tool_versions=recipe.tool_versions,
            fidelity=fidelity,
            gate=precision.gate,
            files=digest_files(folder),
        )
        write_manifest(folder, manifest)
    return manifest


def _tokenization(tokenizer_file: Path, settings: EmbeddingSettings) -> Tokenization:
    prefixes = {Purpose.QUERY: settings.query_prefix, Purpose.DOCUMENT: settings.document_prefix}
    try:
        return Tokenization.load(tokenizer_file, settings.max_tokens, prefixes)
    except ValueError as error:
        raise ModelExportError(str(error)) from error
