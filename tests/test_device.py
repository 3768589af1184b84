"""Where the model runs: what may be asked for, and what is said where it cannot be had."""

import re
from importlib import metadata

import pytest
from server_process import failed_start

from recwire_server.device_default import settings_for
from recwire_server.encoder.device import (
    Device,
    DeviceChoice,
    DeviceError,
    check_runtimes,
    check_session,
    choose_device,
    installed_runtimes,
    mismatch,
)
from recwire_server.model.recipe import Precision
from recwire_server.setting_source import load_settings

CPU_BUILD = ["AzureExecutionProvider", "CPUExecutionProvider"]
CUDA_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def never() -> bool:
    raise AssertionError("nothing is to be tried")


def test_one_runtime_is_as_it_should_be():
    """Either distribution of ONNX Runtime does, alone."""
    check_runtimes(["onnxruntime"])
    check_runtimes(["onnxruntime-gpu"])


def test_two_runtimes_are_refused():
    """Each has overwritten the other's files: both are to go, and one to come back."""
    with pytest.raises(DeviceError, match=r"uninstall -y onnxruntime onnxruntime-gpu.*\[cpu\].*\[gpu\]"):
        check_runtimes(["onnxruntime", "onnxruntime-gpu"])


def test_no_runtime_is_refused():
    """The two extras are named."""
    with pytest.raises(DeviceError, match=r"not installed.*recwire-server\[cpu\].*recwire-server\[gpu\]"):
        check_runtimes([])


def test_the_installed_runtime_is_found():
    """By the name of its distribution."""
    expected = {distribution.name for distribution in metadata.distributions()} & {"onnxruntime", "onnxruntime-gpu"}
    assert installed_runtimes() == expected != set()


def test_auto_takes_cuda_where_it_starts():
    """Not where only the installed build has it, and not where it is not even built in."""
    assert choose_device(DeviceChoice.AUTO, CUDA_BUILD, lambda: True) is Device.CUDA
    assert choose_device(DeviceChoice.AUTO, CUDA_BUILD, lambda: False) is Device.CPU
    assert choose_device(DeviceChoice.AUTO, CPU_BUILD, never) is Device.CPU


def test_auto_says_that_cuda_does_not_start(caplog):
    """Whoever installed onnxruntime-gpu wants to know that it is not used."""
    choose_device(DeviceChoice.AUTO, CUDA_BUILD, lambda: False)
    assert "CUDA does not start" in caplog.text


def test_cpu_is_taken_without_looking_further():
    """Whatever is installed."""
    assert choose_device(DeviceChoice.CPU, CUDA_BUILD, never) is Device.CPU


def test_cuda_is_never_replaced_by_the_cpu():
    """Where cuda is asked for and cannot be had, nothing runs, and the way out is told."""
    assert choose_device(DeviceChoice.CUDA, CUDA_BUILD, lambda: True) is Device.CUDA
    with pytest.raises(DeviceError, match=r"needs onnxruntime-gpu.*recwire-server\[gpu\].*--device cpu"):
        choose_device(DeviceChoice.CUDA, CPU_BUILD, never)
    with pytest.raises(DeviceError, match=r"nvidia-smi.*\[cuda,cudnn\].*--device cpu"):
        choose_device(DeviceChoice.CUDA, CUDA_BUILD, lambda: False)


def test_a_session_that_fell_back_is_refused():
    """ONNX Runtime itself goes on with the CPU."""
    with pytest.raises(DeviceError, match="does not start"):
        check_session(Device.CUDA, ["CPUExecutionProvider"])
    check_session(Device.CUDA, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    check_session(Device.CPU, ["CPUExecutionProvider"])


def test_a_device_brings_its_own_defaults():
    """What nobody has set follows the device; what somebody has set stays."""
    on_cuda = settings_for(Device.CUDA, load_settings({}))
    assert (on_cuda.precision, on_cuda.encoder_thread_count) == (Precision.FP16, 1)
    settings = load_settings({})
    assert settings_for(Device.CPU, settings) == settings
    chosen = settings_for(Device.CUDA, load_settings({"precision": Precision.INT8, "encoder_thread_count": 3}))
    assert (chosen.precision, chosen.encoder_thread_count, chosen.max_batch_size) == (Precision.INT8, 3, 256)


@pytest.mark.parametrize(
    ("precision", "target", "device", "words"),
    [
        ("int8", "avx512_vnni", Device.CUDA, "--precision fp16"),
        ("fp16", "", Device.CPU, "--precision int8"),
        ("int8", "arm64", Device.CPU, "arm64.*avx512_vnni.*on this machine"),
    ],
)
def test_a_model_made_for_elsewhere_is_told(precision, target, device, words):
    """With the way out."""
    assert re.search(words, mismatch(precision, target, device, "avx512_vnni") or "")


@pytest.mark.parametrize(
    ("precision", "target", "device"),
    [
        ("int8", "avx512_vnni", Device.CPU),
        ("fp32", "", Device.CPU),
        ("fp32", "", Device.CUDA),
        ("fp16", "", Device.CUDA),
    ],
)
def test_a_model_made_for_here_is_not_commented_on(precision, target, device):
    """Each precision on its device."""
    assert mismatch(precision, target, device, "avx512_vnni") is None


@pytest.mark.skipif(installed_runtimes() != {"onnxruntime"}, reason="onnxruntime-gpu is installed")
def test_serve_on_cuda_without_its_runtime_ends(int8_model, tmp_path):
    """With status 1 and one line that says why; nothing is written."""
    ended = failed_start(int8_model, tmp_path / "data", "--device", "cuda")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "error: device cuda needs onnxruntime-gpu" in ended.stderr
    assert not (tmp_path / "data").exists()
