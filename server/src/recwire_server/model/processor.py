"""The processor family that integer weights must suit."""

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


def weight_bits(target: str) -> int:
    """Return how many bits the weights of per-token int8 may have on a processor family.

    AVX2 adds two products of unsigned and signed bytes in 16 bits, which saturates with weights of 8.
    """
    return 7 if target == AVX2 else 8
