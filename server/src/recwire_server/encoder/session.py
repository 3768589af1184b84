"""ONNX Runtime's session of a model's graph on a device."""

import contextlib
import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from recwire_server.encoder.device import CPU_PROVIDER, CUDA_PROVIDER, Device, DeviceError, check_session

# The least model there is: one Identity node on one number.
PROBE_MODEL = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
PROVIDERS = {Device.CPU: [CPU_PROVIDER], Device.CUDA: [CUDA_PROVIDER, CPU_PROVIDER]}


def load_session(model: Path | bytes, device: Device, intra_op_threads: int) -> Any:
    """Return ONNX Runtime's session of a graph, a file or its bytes. Safe to run from many threads, without the GIL.

    intra_op_threads: cores that one run may use. Raises DeviceError if the device cannot be had, and plain Exception
    for a graph that ONNX Runtime cannot use.
    """
    if device is Device.CUDA:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it misses; ours is for the serving line
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip has put them
    session = onnxruntime.InferenceSession(model, _session_options(intra_op_threads), providers=PROVIDERS[device])
    check_session(device, session.get_providers())
    _return_freed_memory()
    return session


def available_providers() -> Sequence[str]:
    """Return what the installed ONNX Runtime was built for; whether the machine has it is another matter."""
    providers: list[str] = onnxruntime.get_available_providers()
    return providers


def cuda_starts() -> bool:
    """Return whether a session gets CUDA on this machine."""
    try:
        load_session(PROBE_MODEL, Device.CUDA, intra_op_threads=1)
    except DeviceError:
        return False
    return True


def _session_options(intra_op_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    # Parallel execution doubles the CPU time and gains nothing on a chain of layers.
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return options


def _return_freed_memory() -> None:
    """Give the copies that loading made back to the system: 10 MB for MiniLM, which glibc keeps for itself."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # musl has none
        libc.malloc_trim(0)
