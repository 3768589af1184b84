"""Is a model folder what it should be: near the original, the same in any batch, and faster."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from recwire_server.encoder import ModelFolderError
from recwire_server.encoder.device import Device
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.fidelity import Run, measure_fidelity
from recwire_server.model.manifest import Fidelity, Manifest, load_manifest
from recwire_server.model.recipe import Precision
from recwire_server.model.texts import SEED, TextSplit, tokenize_beginnings

# Rounds in turn, so that all contenders meet the same noise.
ROUNDS, SINGLE_TEXTS, BATCHED_TEXTS, BATCH_SIZE = 5, 48, 160, 8


@dataclass(frozen=True)
class Speed:
    """Texts that one core embeds in a second of its time: one by one, and in batches of 8 sorted by length."""

    single: float
    batched: float


@dataclass(frozen=True)
class Verification:
    """What was found. shortfalls: what is below the manifest's gate; none means passed."""

    manifest: Manifest
    fidelity: Fidelity
    speed: Speed
    reference_speed: Speed
    shortfalls: Sequence[str]


def verify_model(folder: Path, reference: Path, texts: TextSplit) -> Verification:
    """Return how a model folder does on these texts beside the same model in float32.

    reference: a folder in fp32 of the same source. texts: `check` is measured; `calibration` may be empty, and is there
    to be found as neighbours, as at export. Every other text is embedded as a query; of long ones, what fits. Takes
    about 15 s for MiniLM. Raises ModelFolderError if a folder cannot be used or is of another source.
    """
    manifest = load_manifest(folder)
    _check_reference(load_manifest(reference), manifest, reference)
    encoder, original = OnnxEncoder.load(folder, Device.CPU), OnnxEncoder.load(reference, Device.CPU)
    sequences = tokenize_beginnings(encoder.tokenize, texts.check)
    others = tokenize_beginnings(encoder.tokenize, texts.calibration)
    vectors = np.concatenate([original.run([sequence]) for sequence in (*sequences, *others)])
    fidelity = measure_fidelity(encoder.run, vectors, sequences, encoder.max_tokens)
    speeds = _measure_speeds({"model": encoder.run, "reference": original.run}, sequences)
    return Verification(
        manifest, fidelity, speeds["model"], speeds["reference"], shortfalls=manifest.gate.shortfalls(fidelity)
    )


def _check_reference(original: Manifest, manifest: Manifest, reference: Path) -> None:
    if original.source_hash != manifest.source_hash:
        raise ModelFolderError(
            f"{reference} is of another source than {manifest.name}; name its fp32 export with --reference"
        )
    if original.precision != Precision.FP32.value:
        raise ModelFolderError(
            f"{reference} is in {original.precision}, not in fp32; name an fp32 export with --reference"
        )
    if original.pooling != manifest.pooling:
        raise ModelFolderError(
            f"{reference} has {original.pooling} pooling, {manifest.name} {manifest.pooling}; name an fp32 export of "
            "the same with --reference"
        )


def _measure_speeds(runs: Mapping[str, Run], sequences: Sequence[Sequence[int]]) -> dict[str, Speed]:
    drawn = random.Random(SEED).choices(sequences, k=BATCHED_TEXTS)
    single = [[sequence] for sequence in drawn[:SINGLE_TEXTS]]
    ordered = sorted(drawn, key=len)
    batched = [ordered[start : start + BATCH_SIZE] for start in range(0, len(ordered), BATCH_SIZE)]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            taken[name].append((_cpu_s(run, single), _cpu_s(run, batched)))
    return {
        name: Speed(len(single) / median(one for one, _ in seconds), len(drawn) / median(many for _, many in seconds))
        for name, seconds in taken.items()
    }


def _cpu_s(run: Run, batches: Sequence[Sequence[Sequence[int]]]) -> float:
    start = time.process_time()
    for batch in batches:
        run(batch)
    return time.process_time() - start
