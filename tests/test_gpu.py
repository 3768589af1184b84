"""The encoder on a GPU, where there is one."""

import numpy as np
import pytest
from server_process import serving

from recwire_server.encoder import Purpose
from recwire_server.encoder.device import CUDA_PROVIDER, Device
from recwire_server.encoder.embedding import encode
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.encoder.session import available_providers, cuda_starts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        CUDA_PROVIDER not in available_providers() or not cuda_starts(), reason="no CUDA: no GPU, or no onnxruntime-gpu"
    ),
]

TEXTS = ["a light tent for hiking", "", "Ein Führer zu elektrischen Autos", "spice " * 400, "2001: a space odyssey"]


def test_vectors_are_the_cpus(fp32_model, fp32_encoder):
    """Up to the rounding of TF32 products."""
    on_cuda = OnnxEncoder.load(fp32_model, Device.CUDA)
    for ours, theirs in zip(
        encode(on_cuda, TEXTS, Purpose.QUERY), encode(fp32_encoder, TEXTS, Purpose.QUERY), strict=True
    ):
        assert ours.vector @ theirs.vector > 0.999
        np.testing.assert_allclose(ours.vector, theirs.vector, atol=1e-2)


def test_serve_on_cuda(fp32_model, tmp_path):
    """A server asked for cuda embeds there."""
    log = tmp_path / "log"
    with serving(fp32_model, tmp_path / "data", "--device", "cuda", log=log) as server:
        assert server.client.embed(["a text"])
    assert "the model runs on cuda" in log.read_text()
