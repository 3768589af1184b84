"""The integer operators of a site, compared with plain per-token quantization in numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from recwire_server.model.int8.graph import MIN_TABLE_ROWS, QuantizedSite, with_integer_sites
from recwire_server.model.int8.scaling import Scaling
from recwire_server.model.int8.site import find_sites

INPUTS, OUTPUTS = 48, 24
ZERO_POINTS = (64, 80, 96, 128)


def make_model(nodes: Sequence, constants: dict[str, np.ndarray], outputs: Sequence[str] = ("y",), **inputs: list):
    """A graph with the inputs' shapes, float32 x of (batch, tokens, INPUTS) unless told otherwise."""
    inputs = inputs or {"x": ["batch", "tokens", INPUTS]}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def matmul_model() -> onnx.ModelProto:
    return make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": random_weights(0)})


def random_weights(seed: int, shape: tuple[int, ...] = (INPUTS, OUTPUTS)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_tokens(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Activations of which each token has a size of its own, as behind a layer norm."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) * random.lognormal(sigma=2, size=(*shape[:-1], 1))).astype(np.float32)


def quantize(model: onnx.ModelProto, zero_point: int = 128) -> list[QuantizedSite]:
    """All sites of a model with plain rounding and random smoothing."""
    quantized = []
    for number, site in enumerate(find_sites(model)):
        smoothing = np.random.default_rng(number).uniform(0.5, 2, len(site.weights)).astype(np.float32)
        smooth = site.weights * smoothing[:, np.newaxis]
        scales = (np.abs(smooth).max(axis=0) / 127).astype(np.float32)
        integers = np.rint(smooth / scales).astype(np.int8)
        quantized.append(QuantizedSite(site, Scaling(smoothing, zero_point, scales), integers))
    return quantized


def run(model: onnx.ModelProto | Path, *outputs: str, **feeds: np.ndarray) -> list[np.ndarray]:
    serialized = model if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    return session.run(list(outputs) or ["y"], feeds)


def oracle(tokens: np.ndarray, quantized: QuantizedSite) -> np.ndarray:
    """What a site gives without its bias: each token in 0-255 with a step of its own, then an exact product."""
    zero_point, scaling = quantized.scaling.zero_point, quantized.scaling
    smooth = tokens.astype(np.float64) / scaling.smoothing
    highest, lowest = smooth.max(axis=-1, keepdims=True), smooth.min(axis=-1, keepdims=True)
    step = np.maximum(highest / (255 - zero_point), -lowest / zero_point)
    step = np.where(step > 0, step, 1)
    integers = np.rint(smooth / step).astype(np.int64)
    assert np.isin(integers + zero_point, np.arange(256)).all()
    return (integers @ quantized.integers.astype(np.int64)) * step * scaling.weight_scales.astype(np.float64)


def assert_near(actual: np.ndarray, expected: np.ndarray) -> None:
    """To 1e-5 of the token's largest value."""
    sizes = np.maximum(np.abs(expected).max(axis=-1, keepdims=True), 1e-6)
    np.testing.assert_allclose(actual / sizes, expected / sizes, atol=1e-5)


every_zero_point = pytest.mark.parametrize("zero_point", ZERO_POINTS)


@every_zero_point
@pytest.mark.parametrize("leaning", ["both sides of zero", "few below zero", "none below zero", "none above zero"])
def test_matmul_equals_per_token_quantization(leaning, zero_point):
    """A MatMul's result is that of tokens quantized one by one, whichever side of zero they lie on."""
    model, tokens = matmul_model(), random_tokens(1, (3, 5, INPUTS))
    shapes = {"few below zero": np.where(tokens < 0, tokens / 50, tokens), "none below zero": np.abs(tokens)}
    tokens = {**shapes, "none above zero": -np.abs(tokens)}.get(leaning, tokens)
    (quantized,) = quantize(model, zero_point)

    (result,) = run(with_integer_sites(model, [quantized]), x=tokens)

    assert_near(result, oracle(tokens, quantized))


def test_result_is_near_the_float_product():
    """The integers stand for the weights and the activations: the result is the float32 model's to 2 %."""
    model, tokens = matmul_model(), random_tokens(1, (3, 5, INPUTS))

    (result,) = run(with_integer_sites(model, quantize(model)), x=tokens)

    (exact,) = run(model, x=tokens)
    assert np.linalg.norm(result - exact) <= 0.02 * np.linalg.norm(exact)


def test_projections_share_the_quantized_activations():
    """Query, key and value of different widths read one quantization of the activations, each with its own weights."""
    widths = {"q": 24, "k": 8, "v": 40}
    constants = {name: random_weights(number, (INPUTS, widths[name])) for number, name in enumerate(widths)}
    model = make_model([helper.make_node("MatMul", ["x", n], [f"{n}_out"]) for n in widths], constants, ["q_out"])
    model.graph.output.extend(helper.make_tensor_value_info(f"{n}_out", TensorProto.FLOAT, None) for n in "kv")
    tokens = random_tokens(1, (2, 4, INPUTS))
    (quantized,) = quantize(model)

    rewritten = with_integer_sites(model, [quantized])

    assert [node.op_type for node in rewritten.graph.node].count("QuantizeLinear") == 1
    results = run(rewritten, "q_out", "k_out", "v_out", x=tokens)
    assert_near(np.concatenate(results, axis=-1), oracle(tokens, quantized))


@every_zero_point
@pytest.mark.parametrize("transposed", [False, True])
def test_gemm_equals_per_token_quantization(transposed, zero_point):
    """A Gemm, its weights either way round, gives the quantized product and its bias."""
    weights, bias = random_weights(0), random_weights(1, (OUTPUTS,))
    constants = {"w": np.ascontiguousarray(weights.T) if transposed else weights, "b": bias}
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(transposed))
    model, tokens = make_model([node], constants, x=["tokens", INPUTS]), random_tokens(1, (7, INPUTS))
    (quantized,) = quantize(model, zero_point)

    (result,) = run(with_integer_sites(model, [quantized]), x=tokens)

    np.testing.assert_array_equal(quantized.site.weights, weights)
    assert_near(result, oracle(tokens, quantized) + bias)


def test_gemm_without_bias_equals_per_token_quantization():
    """A Gemm of two inputs gives the quantized product alone."""
    model = make_model([helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": random_weights(0)}, x=["tokens", INPUTS])
    tokens = random_tokens(1, (7, INPUTS))
    (quantized,) = quantize(model)

    (result,) = run(with_integer_sites(model, [quantized]), x=tokens)

    assert_near(result, oracle(tokens, quantized))


@every_zero_point
def test_token_of_zeros_gives_the_bias(zero_point):
    """A token of zeros, as padding may be, gives exactly the bias, or zero without one, and never NaN."""
    bias = random_weights(1, (OUTPUTS,))
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"]), helper.make_node("MatMul", ["x", "v"], ["z"])]
    constants = {"w": random_weights(0), "v": random_weights(2), "b": bias}
    model = make_model(nodes, constants, ["y", "z"], x=["tokens", INPUTS])
    tokens = random_tokens(1, (4, INPUTS))
    tokens[1] = 0

    gemm, matmul = run(with_integer_sites(model, quantize(model, zero_point)), "y", "z", x=tokens)

    np.testing.assert_array_equal(gemm[1], bias)
    np.testing.assert_array_equal(matmul[1], np.zeros(OUTPUTS))
    assert np.isfinite(gemm).all()


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_tokens_of_any_size_keep_their_precision(size):
    """A token that is a million times smaller or larger than another loses nothing to it."""
    model, tokens = matmul_model(), random_tokens(1, (2, 3, INPUTS))
    tokens[0] *= size
    (quantized,) = quantize(model)

    (result,) = run(with_integer_sites(model, [quantized]), x=tokens)

    assert_near(result, oracle(tokens, quantized))


@every_zero_point
def test_token_does_not_depend_on_others(zero_point):
    """A token's result has the same bits alone, beside any tokens, and behind padding of zeros."""
    model, tokens = matmul_model(), random_tokens(1, (6, 5, INPUTS))
    rewritten = with_integer_sites(model, quantize(model, zero_point))
    padded = np.concatenate([tokens, np.zeros((6, 11, INPUTS), np.float32)], axis=1)

    (together,) = run(rewritten, x=tokens)

    (in_padding,) = run(rewritten, x=padded)
    np.testing.assert_array_equal(in_padding[:, :5], together)
    for row, token in np.ndindex(6, 5):
        (alone,) = run(rewritten, x=tokens[row : row + 1, token : token + 1])
        np.testing.assert_array_equal(alone[0, 0], together[row, token])


def test_what_is_no_projection_is_left_alone():
    """Products of activations, scaled or transposed Gemms, weights of three axes or of another type are no sites."""
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["activations"]),
        helper.make_node("MatMul", ["w", "x"], ["weights first"]),
        helper.make_node("MatMul", ["x", "w3"], ["three axes"]),
        helper.make_node("MatMul", ["x64", "w64"], ["double"]),
        helper.make_node("Gemm", ["x", "w"], ["alpha"], alpha=0.5),
        helper.make_node("Gemm", ["x", "w", "b"], ["beta"], beta=2.0),
        helper.make_node("Gemm", ["x", "w"], ["transA"], transA=1),
        helper.make_node("Cast", ["x"], ["x64"], to=TensorProto.DOUBLE),
    ]
    square = random_weights(0, (INPUTS, INPUTS))
    constants = {"w": square, "w3": square[np.newaxis], "w64": square.astype(np.float64), "b": square[0]}
    model = make_model(nodes, constants, ["activations"], x=[INPUTS, INPUTS])

    assert find_sites(model) == []
    assert [node.op_type for node in with_integer_sites(model, []).graph.node] == [node.op_type for node in nodes]


def test_sites_come_in_the_order_of_the_graph_by_the_names_of_their_results():
    """Two layers are two sites, named by what they give; their nodes need no names."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["/layer.0/out"]),
        helper.make_node("Relu", ["/layer.0/out"], ["relu"]),
        helper.make_node("MatMul", ["relu", "v"], ["y"]),
    ]
    model = make_model(nodes, {"w": random_weights(0), "v": random_weights(1, (OUTPUTS, 8))})
    tokens = random_tokens(1, (2, 3, INPUTS))

    first, second = quantize(model, 96)

    assert [first.site.name, second.site.name] == ["layer.0/out", "y"]
    assert all(not node.name for node in model.graph.node)
    (result,) = run(with_integer_sites(model, [first, second]), x=tokens)
    assert_near(result, oracle(np.maximum(oracle(tokens, first), 0).astype(np.float32), second))


def test_sites_that_are_not_given_stay_in_float():
    """With one of two sites quantized, the other multiplies its own float32 weights."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["hidden"]), helper.make_node("MatMul", ["hidden", "v"], ["y"])]
    model = make_model(nodes, {"w": random_weights(0), "v": random_weights(1, (OUTPUTS, 8))})
    tokens = random_tokens(1, (2, 3, INPUTS))
    first, _ = quantize(model)

    (result,) = run(with_integer_sites(model, [first]), x=tokens)

    assert_near(result, oracle(tokens, first) @ random_weights(1, (OUTPUTS, 8)))


def test_float_weights_leave_with_their_last_reader():
    """Weights that integers have replaced are gone from the file; those that another node reads too are kept."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"]),
        helper.make_node("MatMul", ["x", "shared"], ["other"]),
        helper.make_node("ReduceSum", ["shared"], ["total"]),
        helper.make_node("Sum", ["hidden", "other", "total"], ["y"]),
    ]
    model = make_model(nodes, {"w": random_weights(0), "shared": random_weights(1)})

    rewritten = with_integer_sites(model, quantize(model))

    names = {tensor.name for tensor in rewritten.graph.initializer}
    assert "w" not in names
    assert "shared" in names
    assert names <= {name for node in rewritten.graph.node for name in node.input}


def test_constants_of_branches_are_kept():
    """A constant that only a branch of an If reads is still there."""
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x", "only here"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Add"), ("else", "Sub"))
    }
    nodes = [
        helper.make_node("If", ["yes"], ["chosen"], then_branch=branches["then"], else_branch=branches["else"]),
        helper.make_node("MatMul", ["chosen", "w"], ["y"]),
    ]
    constants = {"yes": np.array(True), "only here": np.ones(INPUTS, np.float32), "w": random_weights(0)}
    model = make_model(nodes, constants)
    tokens = random_tokens(1, (2, 3, INPUTS))
    (quantized,) = quantize(model)

    (result,) = run(with_integer_sites(model, [quantized]), x=tokens)

    assert_near(result, oracle(tokens + 1, quantized))


@pytest.mark.parametrize(("rows", "type_"), [(MIN_TABLE_ROWS, np.float16), (MIN_TABLE_ROWS - 1, np.float32)])
def test_only_a_long_table_is_halved(rows, type_):
    """A table of words is kept in float16, which rounds it by at most 2^-11; a short one, of positions, as it is."""
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["y"]),
    ]
    table = random_weights(0, (rows, 16))
    model = make_model(nodes, {"table": table}, x=["tokens"])
    ids = np.arange(0, rows, 3)

    rewritten = with_integer_sites(model, [])

    assert [numpy_helper.to_array(tensor).dtype for tensor in rewritten.graph.initializer] == [type_]
    (result,) = run(rewritten, x=ids.astype(np.float32))
    np.testing.assert_allclose(result, table[ids], rtol=2**-11 if type_ is np.float16 else 0)


def test_original_is_not_changed():
    """The model that was given is as it was."""
    model = matmul_model()
    before = model.SerializeToString()

    with_integer_sites(model, quantize(model))

    assert model.SerializeToString() == before


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
@every_zero_point
def test_fusion_leaves_every_token_its_scale(level, zero_point, tmp_path):
    """As ONNX Runtime fuses and saves the graph, no operator has one activation scale that the tokens would share."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["biased"]),
        helper.make_node("Relu", ["biased"], ["relu"]),
        helper.make_node("MatMul", ["relu", "v"], ["y"]),
    ]
    bias = random_weights(2, (OUTPUTS,))
    model = make_model(nodes, {"w": random_weights(0), "b": bias, "v": random_weights(1, (OUTPUTS, 8))})
    tokens = random_tokens(1, (4, 6, INPUTS))
    first, second = quantize(model, zero_point)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")

    rewritten = with_integer_sites(model, [first, second]).SerializeToString()
    onnxruntime.InferenceSession(rewritten, options, providers=["CPUExecutionProvider"])

    (result,) = run(tmp_path / "fused.onnx", x=tokens)
    hidden = np.maximum(oracle(tokens, first) + bias, 0).astype(np.float32)
    assert_near(result, oracle(hidden, second))
    fused = onnx.load(tmp_path / "fused.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in fused.initializer}
    products = [node for node in fused.node if node.op_type == "MatMulIntegerToFloat"]
    assert [constants[node.input[2]].item() for node in products] == [1, 1]
    assert not {"DynamicQuantizeMatMul", "DynamicQuantizeLinear"} & {node.op_type for node in fused.node}
