"""The contenders by name. Each imports what it needs only when it is made.

All run on one thread, with the same weights, and cut a text after the same number of tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.encoder.material import Material
from benchmarks.encoder.text_encoder import TextEncoder
from benchmarks.naive_loop import naive_loop
from recwire_server.encoder import LongText, Purpose, Vector
from recwire_server.encoder.device import Device
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.encoder.padding import padded
from recwire_server.encoder.session import load_session
from recwire_server.model.cache import export_model
from recwire_server.model.recipe import Precision

INT8, FP32, PLAIN, NAIVE = "recwire int8", "recwire fp32", "ONNX Runtime fp32", "naive loop, torch"
OPENVINO_ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}


def recwire(precision: Precision, material: Material, note: str = "") -> TextEncoder:
    """Return recwire's own encoder, exported first if the cache has none."""
    folder = export_model(None, precision, None, material.cache_dir, Console(stderr=True).print).folder
    return of_onnx_encoder(OnnxEncoder.load(folder), note)


def of_onnx_encoder(encoder: OnnxEncoder, note: str = "") -> TextEncoder:
    """Return an encoder of recwire as a contender."""

    def encode_texts(texts: Sequence[str]) -> Vector:
        # Cut, as the others do, instead of the mean of chunks that a server gives.
        return np.stack([one.vector for one in encode(encoder, texts, Purpose.DOCUMENT, LongText.TRUNCATE)])

    return TextEncoder(encode_texts, encoder.run, note)


def plain_onnx_runtime(material: Material) -> TextEncoder:
    """Return ONNX Runtime on the graph as traced, which it optimises itself while it loads."""
    session = load_session(material.pooled, Device.CPU, intra_op_threads=1)
    return _of_token_ids(material, lambda sequences: session.run(["embedding"], padded(sequences))[0])


def sentence_transformers_torch(material: Material) -> TextEncoder:
    """Return sentence-transformers as it comes."""
    from sentence_transformers import SentenceTransformer

    return _sentence_transformer(SentenceTransformer(str(material.source.folder), device="cpu"))


def sentence_transformers_onnx(material: Material) -> TextEncoder:
    """Return sentence-transformers on ONNX Runtime, with Optimum's export of the same weights."""
    import onnxruntime
    from sentence_transformers import SentenceTransformer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    of_session = {"file_name": "onnx/model.onnx", "provider": "CPUExecutionProvider", "session_options": options}
    return _sentence_transformer(
        SentenceTransformer(str(material.folder_with_graph()), device="cpu", backend="onnx", model_kwargs=of_session)
    )


def openvino_float(material: Material) -> TextEncoder:
    """Return OpenVINO on the graph as traced. Where the processor multiplies bfloat16, it takes that by itself."""
    import openvino

    return _openvino(material, openvino.Core().read_model(material.pooled))


def openvino_int8(material: Material) -> TextEncoder:
    """Return OpenVINO on the static int8 that Intel's own nncf makes for transformers (smooth quantization, bias
    correction), calibrated with texts of the same catalogues: more than recwire's own gets."""
    import nncf
    import openvino

    sequences = material.token_ids(material.calibration)
    quantized = nncf.quantize(
        openvino.Core().read_model(material.pooled),
        nncf.Dataset(sequences, lambda sequence: padded([sequence])),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(sequences),
    )
    return _openvino(material, quantized)


def naive_torch(material: Material) -> TextEncoder:
    """Return the loop that one finds in many a script."""
    embed = naive_loop(material.source.folder, Device.CPU)
    return TextEncoder(lambda texts: np.stack([embed(text) for text in texts]), run=None)


CONTENDERS: Mapping[str, Callable[[Material], TextEncoder]] = {
    FP32: partial(recwire, Precision.FP32),
    INT8: partial(recwire, Precision.INT8),
    "recwire int8-dynamic": partial(
        recwire, Precision.INT8_DYNAMIC, note="recwire runs its texts alone, since they depend on the batch"
    ),
    PLAIN: plain_onnx_runtime,
    "sentence-transformers, torch": sentence_transformers_torch,
    "sentence-transformers, ONNX": sentence_transformers_onnx,
    "OpenVINO": openvino_float,
    "OpenVINO int8, nncf": openvino_int8,
    NAIVE: naive_torch,
}


def _of_token_ids(material: Material, run: Callable[[Sequence[Sequence[int]]], Vector], note: str = "") -> TextEncoder:
    return TextEncoder(lambda texts: run(material.token_ids(texts)), run, note)


def _openvino(material: Material, model: Any) -> TextEncoder:
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", OPENVINO_ONE_THREAD)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    note = f"what is not integers runs in {precision}, which OpenVINO chose"
    return _of_token_ids(material, lambda sequences: compiled(padded(sequences))[0], note)


def _sentence_transformer(model: Any) -> TextEncoder:
    import torch

    def run(sequences: Sequence[Sequence[int]]) -> Vector:
        features = {name: torch.from_numpy(array) for name, array in padded(sequences).items()}
        features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        with torch.inference_mode():
            vectors: Vector = model(features)["sentence_embedding"].numpy()
        return vectors

    def encode_texts(texts: Sequence[str]) -> Vector:
        vectors: Vector = model.encode(list(texts), show_progress_bar=False)
        return vectors

    return TextEncoder(encode_texts, run)
