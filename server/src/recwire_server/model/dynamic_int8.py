"""The usual dynamic int8, as Optimum makes it: one activation scale for the whole batch. For comparison."""

from pathlib import Path

from recwire_server.model.processor import ARM64, AVX2, VNNI


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
