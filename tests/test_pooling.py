"""Pooling and unit length inside the graph, checked against numpy."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from recwire_server.model import ModelExportError
from recwire_server.model.pooling import add_pooling

DIM = 3
TOKEN_TABLE = np.random.default_rng(1).standard_normal((10, DIM)).astype(np.float32)
FURTHER_TABLE = np.random.default_rng(2).standard_normal((5, DIM)).astype(np.float32)


def token_model(further_input: str | None = None) -> onnx.ModelProto:
    """A transformer without layers: a token's vector is a row of TOKEN_TABLE, plus the further input's row."""
    names = ["input_ids", "attention_mask"] + [further_input] * bool(further_input)
    words = "words" if further_input else "last_hidden_state"
    nodes = [helper.make_node("Gather", ["token_table", "input_ids"], [words])]
    if further_input:
        nodes.append(helper.make_node("Gather", ["further_table", further_input], ["further"]))
        nodes.append(helper.make_node("Add", ["words", "further"], ["last_hidden_state"]))
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in names],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "s", DIM])],
        [
            numpy_helper.from_array(TOKEN_TABLE, "token_table"),
            numpy_helper.from_array(FURTHER_TABLE, "further_table"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [graph_input.name for graph_input in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [output.name for output in session.get_outputs()] == ["embedding"]
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)


def test_mean_pooling_averages_the_tokens_of_the_mask():
    """The embedding is the mean over the mask's tokens, scaled to unit length; padding counts nothing."""
    model = add_pooling(token_model(), "mean")
    ids, mask = np.array([[1, 2, 3], [4, 5, 0]]), np.array([[1, 1, 1], [1, 1, 0]])

    embeddings = run(model, ids, mask)

    expected = [unit(TOKEN_TABLE[[1, 2, 3]].mean(axis=0)), unit(TOKEN_TABLE[[4, 5]].mean(axis=0))]
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)


def test_cls_pooling_takes_the_first_token():
    """The embedding is the first token's vector, scaled to unit length."""
    model = add_pooling(token_model(), "cls")

    embeddings = run(model, np.array([[7, 2, 3]]), np.array([[1, 1, 1]]))

    np.testing.assert_allclose(embeddings, [unit(TOKEN_TABLE[7])], atol=1e-6)


def test_token_types_become_zeros():
    """A model that asks for token types gets zeros of the ids' shape, and no longer asks."""
    model = add_pooling(token_model("token_type_ids"), "mean")

    embeddings = run(model, np.array([[1, 2]]), np.array([[1, 1]]))

    expected = unit((TOKEN_TABLE[[1, 2]] + FURTHER_TABLE[0]).mean(axis=0))
    np.testing.assert_allclose(embeddings, [expected], atol=1e-6)


def test_last_token_pooling_takes_the_last_of_the_mask():
    """The embedding is the vector of the row's last token before its padding, scaled to unit length."""
    model = add_pooling(token_model(), "lasttoken")

    embeddings = run(model, np.array([[1, 2, 3], [4, 5, 0]]), np.array([[1, 1, 1], [1, 1, 0]]))

    np.testing.assert_allclose(embeddings, [unit(TOKEN_TABLE[3]), unit(TOKEN_TABLE[5])], atol=1e-6)


def test_positions_count_from_zero():
    """A model that asks for positions gets 0, 1, 2 for a row's tokens, and no longer asks."""
    model = add_pooling(token_model("position_ids"), "lasttoken")

    embeddings = run(model, np.array([[1, 2, 3], [4, 5, 0]]), np.array([[1, 1, 1], [1, 1, 0]]))

    expected = [unit(TOKEN_TABLE[3] + FURTHER_TABLE[2]), unit(TOKEN_TABLE[5] + FURTHER_TABLE[1])]
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)


@pytest.mark.parametrize("further_input", ["token_type_ids", "position_ids"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_onnx_runtime_has_nothing_to_say_about_the_graph(pooling, further_input, tmp_path: Path, capfd):
    """The graph loads without a warning, and the file passes ONNX's own full check."""
    path = tmp_path / "model.onnx"
    onnx.save(add_pooling(token_model(further_input), pooling), path)

    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    assert capfd.readouterr().err == ""
    onnx.checker.check_model(path, full_check=True)


def test_empty_mask_gives_zeros_and_no_nan():
    """A row without any token gives the zero vector."""
    model = add_pooling(token_model(), "mean")

    embeddings = run(model, np.array([[1, 2]]), np.array([[0, 0]]))

    np.testing.assert_array_equal(embeddings, np.zeros((1, DIM), np.float32))


def test_other_models_are_refused_by_what_they_ask_for():
    """A model with further inputs, or without token vectors, is an error that names the difference."""
    model = token_model()
    model.graph.input[1].name = "pixel_values"
    with pytest.raises(ModelExportError, match="also asks for pixel_values"):
        add_pooling(model, "mean")

    model = token_model()
    model.graph.output[0].name = "logits"
    with pytest.raises(ModelExportError, match="no last_hidden_state"):
        add_pooling(model, "mean")
