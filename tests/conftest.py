"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.cache import export_model
from recwire_server.model.recipe import Precision


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """The cache folder in which exported models outlive the test run."""
    return Path(os.environ.get("RECWIRE_TEST_MODEL_CACHE") or Path(__file__).parents[1] / ".build")


@pytest.fixture(scope="session")
def int8_model(model_cache: Path) -> Path:
    """The default model's folder in int8, exported once."""
    return export_model(None, Precision.INT8, None, model_cache, print).folder


@pytest.fixture(scope="session")
def fp32_model(model_cache: Path) -> Path:
    """The default model's folder in fp32, exported once."""
    return export_model(None, Precision.FP32, None, model_cache, print).folder


@pytest.fixture(scope="session")
def int8_encoder(int8_model: Path) -> OnnxEncoder:
    """The default model in int8."""
    return OnnxEncoder.load(int8_model)


@pytest.fixture(scope="session")
def fp32_encoder(fp32_model: Path) -> OnnxEncoder:
    """The default model in fp32."""
    return OnnxEncoder.load(fp32_model)
