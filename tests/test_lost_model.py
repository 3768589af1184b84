"""The model's files removed or replaced under a running server: it serves on, and a start without them says so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from server_process import failed_start, serving

TEXTS = [f"a lamp of brass, number {number}" for number in range(3)]


def remove(model: Path) -> None:
    shutil.rmtree(model)


def replace_with_garbage(model: Path) -> None:
    """As a deployment does it: the new file is made beside the old, and renamed over it."""
    for file in list(model.iterdir()):
        draft = file.with_suffix(".draft")
        draft.write_bytes(b"no model")
        draft.rename(file)


@pytest.mark.parametrize("harm", [remove, replace_with_garbage], ids=lambda harm: harm.__name__)
def test_a_server_goes_on_with_the_model_that_it_started_with(
    harm: Callable[[Path], None], int8_model: Path, tmp_path: Path
):
    """Texts that it has not seen are embedded as before. The next start ends with what to do."""
    model = tmp_path / "model"
    shutil.copytree(int8_model, model)
    with serving(model, tmp_path / "data", "--embedding-cache-bytes", "0") as server:
        before = server.client.embed(TEXTS).vectors
        harm(model)
        assert np.array_equal(server.client.embed(TEXTS).vectors, before)
        assert len(server.client.embed([f"word{n} " * 50 for n in range(50)]).vectors) == 50
        assert server.terminate() == 0
    ended = failed_start(model, tmp_path / "data")
    assert ended.returncode == 1
    assert "error: " in ended.stderr
    assert "recwire-server model export" in ended.stderr
    assert "Traceback" not in ended.stderr
