"""Int8 weights for the processor at hand."""

import platform
from pathlib import Path

VNNI = "avx512_vnni"
AVX2 = "avx2"
ARM64 = "arm64"


def quantization_target(machine: str, cpu_flags: frozenset[str]) -> str:
    """Return the processor family to quantize for: "avx512_vnni", "avx2" or "arm64".

    machine: as platform.machine() gives it. cpu_flags: as /proc/cpuinfo lists them; empty where it does not
    exist.
    """
    if machine.lower() in ("arm64", "aarch64"):
        return ARM64
    # AVX-VNNI is the same instruction for processors without AVX-512.
    if cpu_flags & {"avx512_vnni", "avx_vnni"}:
        return VNNI
    return AVX2


def detect_quantization_target() -> str:
    """Return the quantization target that suits this machine."""
    flags: frozenset[str] = frozenset()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        flags = frozenset(next((line for line in lines if line.startswith("flags")), "").split())
    return quantization_target(platform.machine(), flags)


def quantize(onnx_folder: Path, target: str) -> Path:
    """Write an int8 copy of the folder's model.onnx, as Optimum exported it, and return the copy's path.

    Weights are quantized ahead, one scale an output channel; activations while running, one scale a tensor.
    """
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    # On x86 without VNNI, products of unsigned and signed bytes saturate in 16 bits. Optimum's avx2
    # weights are unsigned, which takes the kernels that do not saturate.
    configs = {
        VNNI: AutoQuantizationConfig.avx512_vnni,
        AVX2: AutoQuantizationConfig.avx2,
        ARM64: AutoQuantizationConfig.arm64,
    }
    config = configs[target](is_static=False, per_channel=True)
    # Straight from the plain export: ORTQuantizer of optimum-onnx 0.1.0 fails on an optimised graph.
    ORTQuantizer.from_pretrained(onnx_folder).quantize(save_dir=onnx_folder, quantization_config=config)
    return onnx_folder / "model_quantized.onnx"
