"""`serve` with a model folder that cannot serve: one line that says why, and nothing has happened."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import failed_start, serving

from recwire import Item


@pytest.fixture
def folder(int8_model: Path, tmp_path: Path) -> Path:
    """A copy of the default model's folder, to be harmed."""
    return shutil.copytree(int8_model, tmp_path / "model")


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def change_one_byte(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def say_other_dimension(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"dim": 128}))


def put_what_is_no_model(folder: Path) -> None:
    """With the right digest: it is what was exported, and ONNX Runtime cannot read it."""
    content = b"no model"
    (folder / "model.onnx").write_bytes(content)
    fields = json.loads((folder / "manifest.json").read_text())
    fields["files"]["model.onnx"] = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "manifest.json is missing, so"),
        (remove("manifest.json"), "manifest.json is missing, so"),
        (remove("model.onnx"), "model.onnx is missing"),
        (remove("tokenizer.json"), "tokenizer.json is missing"),
        (cut("manifest.json"), "manifest.json cannot be read"),
        (cut("model.onnx"), "model.onnx is damaged: "),
        (change_one_byte("model.onnx"), "model.onnx is damaged: its content is not what was exported"),
        (change_one_byte("tokenizer.json"), "tokenizer.json is damaged: its content is not what was exported"),
        (say_other_dimension, "manifest.json says 128 dimensions, model.onnx has 384"),
        (put_what_is_no_model, "model cannot be loaded: "),
    ],
)
def test_a_harmed_folder_is_refused(folder, tmp_path, harm, words):
    """The file is named, and how to get a sound one; no data directory is made."""
    harm(folder)
    ended = failed_start(folder, tmp_path / "data")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    error = ended.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert "recwire-server model export" in error
    assert not (tmp_path / "data").exists()


def test_another_models_folder_is_refused(int8_model, fp32_model, tmp_path):
    """A data directory that one model wrote is not opened with another; it is left as it was, and serves again."""
    data = tmp_path / "data"
    with serving(int8_model, data) as server:
        server.client.upsert_items([Item(item_id="tent", texts=["a tent"])])
        version = server.client.get_server_info().model.version
        assert server.terminate() == 0
    before = content(data)
    ended = failed_start(fp32_model, data)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"was written with model all-MiniLM-L6-v2 ({version}, 384 dimensions)" in ended.stderr
    assert "--model" in ended.stderr
    assert "--data-dir" in ended.stderr
    assert content(data) == before
    with serving(int8_model, data) as server:
        assert server.client.get_item("tent").texts == ["a tent"]


def content(data_dir: Path) -> dict[str, bytes]:
    """Return the files of a data directory but the lock, which names the process that had it last."""
    return {path.name: path.read_bytes() for path in data_dir.rglob("*") if path.is_file() and path.name != "lock"}
