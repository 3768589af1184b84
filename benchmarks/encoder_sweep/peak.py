"""What the machine can multiply at best: square matrix products, of sizes around what fits its caches."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from benchmarks.measurement import Contender, measure
from recwire_server.encoder.device import Device
from recwire_server.encoder.session import load_session

CPU_SIZES = (256, 512, 1024)  # a matrix of bytes takes 64 KB, 256 KB, 1 MB
CUDA_SIZES = (2048, 4096, 8192)
CHAIN = 8  # products on a GPU before it is waited for
FP32, U8S8, FP16 = "fp32", "u8s8", "fp16"
ONNX_RUNTIME, TORCH = "ONNX Runtime", "torch"


@dataclass(frozen=True)
class Peak:
    """The best rate of products in `kind` of numbers. gops: thousand million operations a second, a product and a sum
    being two; the median of the calls of the best tool and size. rounds_gops: of the rounds of those."""

    device: str
    kind: str
    threads: int
    tool: str
    size: int
    gops: float
    rounds_gops: list[float]


@dataclass(frozen=True)
class _Product:
    device: Device
    kind: str
    threads: int
    tool: str
    size: int


def measure_cpu_peaks(threads: Iterable[int], rounds: int, sizes: Iterable[int] = CPU_SIZES) -> list[Peak]:
    """Return the peaks of float32, and of bytes by signed bytes, for each number of threads."""
    products: dict[_Product, Contender] = {}
    for size in sizes:
        for count in threads:
            for kind in (FP32, U8S8):
                call = _onnx_product(kind, size, count)
                products[_Product(Device.CPU, kind, count, ONNX_RUNTIME, size)] = Contender(
                    call, time.process_time, call
                )
            with suppress(ImportError):
                products[_Product(Device.CPU, FP32, count, TORCH, size)] = _torch_contender(size, count)
    return _best(products, rounds)


def measure_cuda_peaks(rounds: int, sizes: Iterable[int] = CUDA_SIZES) -> list[Peak]:
    """Return the peaks of float16, and of float32 as the tensor cores take it (TF32)."""
    products: dict[_Product, Contender] = {}
    for size in sizes:
        for kind in (FP32, FP16):
            call = _cuda_product(kind, size)
            products[_Product(Device.CUDA, kind, 1, TORCH, size)] = Contender(call, time.process_time, call)
    return _best(products, rounds, products_a_call=CHAIN)


def _best(products: Mapping[_Product, Contender], rounds: int, products_a_call: int = 1) -> list[Peak]:
    measured = measure(products, rounds, calls=8, warm_up_calls=2)
    best: dict[Hashable, Peak] = {}
    for product, measurement in measured.items():
        operations = 2 * product.size**3 * products_a_call
        peak = Peak(
            device=product.device.value,
            kind=product.kind,
            threads=product.threads,
            tool=product.tool,
            size=product.size,
            gops=round(operations / measurement.p50_ms / 1e6, 1),
            rounds_gops=[round(operations / p50_ms / 1e6, 1) for p50_ms in measurement.rounds_p50_ms],
        )
        key = product.device, product.kind, product.threads
        best[key] = max(best.get(key, peak), peak, key=lambda one: one.gops)
    return list(best.values())


def _onnx_product(kind: str, size: int, threads: int) -> Callable[[], object]:
    """Return a product with a constant, as the weights of a model are, so that ONNX Runtime packs it beforehand."""
    from onnx import TensorProto, helper, numpy_helper

    chance = np.random.default_rng(size)
    if kind == FP32:
        left, right = (chance.standard_normal((size, size), np.float32) for _ in range(2))
        operator, left_type, output_type = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
    else:
        left = chance.integers(0, 256, (size, size), np.uint8)
        right = chance.integers(-127, 128, (size, size), np.int8)
        operator, left_type, output_type = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", left_type, [size, size])],
        [helper.make_tensor_value_info("product", output_type, [size, size])],
        [numpy_helper.from_array(right, "right")],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = load_session(model.SerializeToString(), Device.CPU, threads)
    return lambda: session.run(None, {"left": left})


def _torch_contender(size: int, threads: int) -> Contender:
    import torch

    left, right, product = (torch.randn(size, size) for _ in range(3))

    def multiply() -> None:
        torch.matmul(left, right, out=product)

    def prepare() -> None:
        torch.set_num_threads(threads)
        multiply()

    return Contender(multiply, time.process_time, prepare)


def _cuda_product(kind: str, size: int) -> Callable[[], object]:
    import torch

    dtype = torch.float16 if kind == FP16 else torch.float32
    left, right, product = (torch.randn(size, size, dtype=dtype, device="cuda") for _ in range(3))

    def multiply() -> None:
        for _ in range(CHAIN):
            torch.matmul(left, right, out=product)
        torch.cuda.synchronize()

    return multiply
