"""Whether benchmarks can run on a GPU here."""

from typing import Any

from recwire_server.encoder.device import (
    Device,
    DeviceChoice,
    DeviceError,
    check_runtimes,
    choose_device,
    installed_runtimes,
)
from recwire_server.encoder.session import available_providers, cuda_starts


def require(device: Device) -> None:
    """End the command unless all that a benchmark needs on this device is there; the message says what to install."""
    if device is Device.CPU:
        return
    try:
        check_runtimes(installed_runtimes())
        choose_device(DeviceChoice.CUDA, available_providers(), cuda_starts)
    except DeviceError as error:
        raise SystemExit(f"--device cuda: {error}") from error
    _require_torch()


def multiply_as_onnx_runtime() -> None:
    """Let torch multiply float32 on the tensor cores (TF32), as ONNX Runtime does unasked."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True


def describe_gpu() -> dict[str, Any]:
    """Return what a result says of the GPU, ready for JSON."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_mb": properties.total_memory // 2**20,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
    }


def held_memory_mb() -> int:
    """Return how much of the GPU's memory is in use, by whomever."""
    import torch

    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return int(total - free) // 2**20


def _require_torch() -> None:
    """It is what recwire is compared with, and what the GPU's peak is measured with."""
    try:
        import torch
        import transformers  # noqa: F401, to know that it is there
    except ImportError as error:
        raise SystemExit(f"--device cuda: {error}; pip install torch 'transformers>=4.57,<5'") from error
    if not torch.cuda.is_available():
        raise SystemExit(
            f"--device cuda: torch {torch.__version__} finds no GPU, though ONNX Runtime does: "
            "pip install a torch that is built for CUDA"
        )
