"""Where the model runs: what is asked for, and what the installed ONNX Runtime can give."""

import logging
from collections.abc import Callable, Collection
from enum import StrEnum
from importlib import metadata

from recwire_server.encoder import EncoderError

logger = logging.getLogger(__name__)

CPU_RUNTIME = "onnxruntime"
CUDA_RUNTIME = "onnxruntime-gpu"
CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"


class Device(StrEnum):
    """Where the model runs."""

    CPU = "cpu"
    CUDA = "cuda"


class DeviceChoice(StrEnum):
    """Where the model is asked to run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class DeviceError(EncoderError):
    """The model cannot run where it is asked to; the message says why and the way out."""


def installed_runtimes() -> frozenset[str]:
    """Return which of the two distributions of ONNX Runtime are installed."""
    return frozenset(name for name in (CPU_RUNTIME, CUDA_RUNTIME) if _is_installed(name))


def check_runtimes(installed: Collection[str]) -> None:
    """Raise DeviceError unless exactly one distribution of ONNX Runtime is installed."""
    if {CPU_RUNTIME, CUDA_RUNTIME} <= set(installed):
        raise DeviceError(
            f"{CPU_RUNTIME} and {CUDA_RUNTIME} are both installed, and each has overwritten files of the other: "
            f"pip uninstall -y {CPU_RUNTIME} {CUDA_RUNTIME}, then pip install 'recwire-server[cpu]' or "
            "'recwire-server[gpu]' (the export extra brings the former: export in an environment of its own)"
        )
    if not installed:
        raise DeviceError("ONNX Runtime is not installed: pip install 'recwire-server[cpu]' or 'recwire-server[gpu]'")


def choose_device(asked: DeviceChoice, available: Collection[str], cuda_starts: Callable[[], bool]) -> Device:
    """Return the device to run on; with `auto` it is CUDA wherever that works.

    available: ONNX Runtime's providers, as installed. cuda_starts: whether a session gets CUDA on this machine; takes
    half a second, and is called only where it is in doubt. Raises DeviceError rather than take another device than
    asked for.
    """
    if asked is DeviceChoice.CPU or (asked is DeviceChoice.AUTO and CUDA_PROVIDER not in available):
        return Device.CPU
    if CUDA_PROVIDER not in available:
        raise DeviceError(
            f"device cuda needs {CUDA_RUNTIME}, and {CPU_RUNTIME} is installed: pip uninstall -y {CPU_RUNTIME}, then "
            "pip install 'recwire-server[gpu]'; or take --device cpu"
        )
    if cuda_starts():
        return Device.CUDA
    if asked is DeviceChoice.CUDA:
        raise cuda_does_not_start()
    logger.warning("%s is installed but CUDA does not start; ONNX Runtime's own lines above say why", CUDA_RUNTIME)
    return Device.CPU


def check_session(device: Device, session_providers: Collection[str]) -> None:
    """Raise DeviceError if a session fell back to another device, as ONNX Runtime does with no more than a log line."""
    if device is Device.CUDA and CUDA_PROVIDER not in session_providers:
        raise cuda_does_not_start()


def mismatch(precision: str, quantization_target: str, device: Device, processor: str) -> str | None:
    """Return what is wrong with running a model of this precision on this device, and the way out; None: nothing.

    quantization_target: the processor family that the integer weights suit; empty for floats. processor: the family
    of this machine's, in the same words.
    """
    if device is Device.CUDA and quantization_target:
        return f"{precision} has no kernels on cuda, so most of it runs on the CPU: export with --precision fp16"
    if device is Device.CPU and precision == "fp16":
        return "fp16 is slower than fp32 on a CPU: export with --precision int8"
    if quantization_target not in ("", processor):
        return (
            f"its weights are quantized for {quantization_target} and this processor is of the family {processor}: "
            "vectors may be less exact, and slower; export it on this machine"
        )
    return None


def cuda_does_not_start() -> DeviceError:
    """Return the error of a machine on which ONNX Runtime cannot use CUDA."""
    return DeviceError(
        f"device cuda does not start (ONNX Runtime's own lines above say why): check that nvidia-smi lists a GPU, and "
        f"install the CUDA and cuDNN libraries, pip install '{CUDA_RUNTIME}[cuda,cudnn]'; or take --device cpu"
    )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
