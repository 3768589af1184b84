"""Fixtures that several test files share."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sealed_index

from recwire import Client
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.index.sealed import SearchMethod
from recwire_server.model.cache import export_model
from recwire_server.model.recipe import Precision
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_app

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


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


@dataclass(frozen=True)
class RunningServer:
    """A server that takes calls. metrics_address: HOST:PORT of its metrics, if it was told metrics_listen."""

    address: str
    client: Client
    metrics_address: str | None = None


StartServer = Callable[..., RunningServer]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with the given settings (data_dir: in tmp_path) and encoder (a hash encoder); they end with the
    test."""
    with ExitStack() as exit_stack:

        def start(encoder: HashEncoder | OnnxEncoder | None = None, **settings: object) -> RunningServer:
            flags = {"listen": "127.0.0.1:0", "data_dir": tmp_path / "data", **settings}
            app = exit_stack.enter_context(running_app(load_settings(flags), encoder or HashEncoder()))
            return RunningServer(app.address, exit_stack.enter_context(Client(app.address)), app.metrics_address)

        yield start


@pytest.fixture
def hash_server(start_server: StartServer) -> RunningServer:
    """A server with an empty catalogue, a hash encoder and default settings."""
    return start_server()


@pytest.fixture
def minilm_server(start_server: StartServer, int8_encoder: OnnxEncoder) -> RunningServer:
    """A server with an empty catalogue, the default model and default settings."""
    return start_server(int8_encoder)


@pytest.fixture(scope="session")
def films() -> Path:
    """The folder of MovieLens latest-small, which lies beside the project where it is developed."""
    folder = SHARED_DATA / "ml-latest-small"
    if not folder.is_dir():
        pytest.skip("no shared data beside the project")
    return folder


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    """Rows as a catalogue's lie, see sealed_index."""
    return sealed_index.make_rows()


@pytest.fixture(scope="session")
def saved_indexes(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[SearchMethod, Path]:
    """Folders with an index of the rows, by how it is searched; not to be changed."""
    folders = {method: tmp_path_factory.mktemp(method) for method in sealed_index.METHODS}
    for method, folder in folders.items():
        sealed_index.save(folder, rows, method)
    return folders
