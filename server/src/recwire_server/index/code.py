"""Rows as a byte a dimension, of which all are scored at a time by ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from recwire_server.index import Labels
from recwire_server.index.matrix import Matrix
from recwire_server.index.projection import Projection
from recwire_server.vector import Vector, Vectors

# Seven bits of eight: on x86 without VNNI two products of eight bits do not fit the 16 that hold their sum.
MAX_CODE = 63
QUERY_ZERO = 128
# A session holds at most so many rows; while it is made, they are there four times.
MAX_SEGMENT_ROWS = 131_072

Bias = NDArray[np.float32]
"""(row count or more,): what is added to the score of each row, by label; minus infinity keeps it out."""


@dataclass(frozen=True)
class Near:
    """Rows that are nearest by codes: labels (count,) int64 and scores (count,) float32, in no order."""

    labels: Labels
    scores: Vector


class Segment:
    """The rows from one label to another, as codes. Safe to call from many threads."""

    def __init__(self, first: int, short_rows: Vectors, foreign: Labels) -> None:
        """Make the codes of (count, short dim) rows, which begin with a label. foreign: see Projection."""
        self.first = first
        self.foreign = foreign
        self.end = first + len(short_rows)
        scales = np.abs(short_rows).max(axis=1, initial=0) / MAX_CODE
        scales[scales == 0] = 1  # rows of zeros
        codes = np.rint(short_rows / scales[:, np.newaxis]).astype(np.int8)
        self.memory_bytes = codes.nbytes + scales.nbytes
        self._session = _session(np.ascontiguousarray(codes.T), scales.astype(np.float32))

    def __len__(self) -> int:
        return self.end - self.first

    def nearest(self, query: "CodedQuery", k: int, bias: Bias) -> Near:
        """Return the k rows with the highest scores, fewer if the bias keeps so many out."""
        values = {
            "query": query.codes,
            "query_scale": query.scale,
            "bias": bias[self.first : self.end],
            "k": np.array([min(k, len(self))], np.int64),
        }
        scores, places = self._session.run(None, values)
        in_reach = scores[0] > -np.inf
        return Near(places[0][in_reach] + self.first, scores[0][in_reach])


class CodedQuery:
    """A query (short dim,) as codes."""

    def __init__(self, short_query: Vector) -> None:
        scale = float(np.abs(short_query).max()) / (QUERY_ZERO - 1) or 1.0
        self.codes = (np.rint(short_query / scale) + QUERY_ZERO).astype(np.uint8)[np.newaxis]
        self.scale = np.array([scale], np.float32)


def nearest(segments: Sequence[Segment], query: CodedQuery, k: int, bias: Bias) -> Labels:
    """Return the labels of the k rows with the highest scores in all segments."""
    found = [segment.nearest(query, k, bias) for segment in segments]
    if len(found) == 1:
        return found[0].labels
    labels = np.concatenate([near.labels for near in found])
    scores = np.concatenate([near.scores for near in found])
    if len(labels) <= k:
        return labels
    best: Labels = labels[np.argpartition(scores, len(scores) - k)[len(scores) - k :]]
    return best


def segments_of(matrix: Matrix, projection: Projection, first: int, end: int) -> list[Segment]:
    """Return segments of the rows from one label to another. Slow; safe on another thread."""
    return [
        _segment(matrix, projection, start, min(start + MAX_SEGMENT_ROWS, end))
        for start in range(first, end, MAX_SEGMENT_ROWS)
    ]


def _segment(matrix: Matrix, projection: Projection, first: int, end: int) -> Segment:
    short_rows = np.empty((end - first, projection.short_dim), np.float32)
    foreign = np.zeros(end - first, np.bool_)
    for start, rows in matrix.pieces(first):
        if start >= end:
            break
        rows = rows[: end - start]
        piece = slice(start - first, start - first + len(rows))
        short_rows[piece] = projection.map(rows)
        foreign[piece] = projection.are_foreign(rows, short_rows[piece])
    return Segment(first, short_rows, np.flatnonzero(foreign) + first)


def _session(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> onnxruntime.InferenceSession:
    """Return what scores rows: codes (short dim, count), scales (count,)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    model = _model(codes, scales).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _model(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> Any:
    """Return the ONNX model: top k of (query * codes) * scales * query scale + bias."""
    from onnx import TensorProto, helper, numpy_helper  # 11 MB and .06 s, that small catalogues need not pay

    nodes = [
        helper.make_node("MatMulInteger", ["query", "codes", "query_zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scales"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "query_scale"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["scores"]),
        helper.make_node("TopK", ["scores", "k"], ["best_scores", "best"], sorted=0),
    ]
    inputs = [
        helper.make_tensor_value_info("query", TensorProto.UINT8, [1, codes.shape[0]]),
        helper.make_tensor_value_info("query_scale", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("bias", TensorProto.FLOAT, [codes.shape[1]]),
        helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("best_scores", TensorProto.FLOAT, [1, None]),
        helper.make_tensor_value_info("best", TensorProto.INT64, [1, None]),
    ]
    constants = [
        numpy_helper.from_array(codes, "codes"),
        numpy_helper.from_array(scales, "scales"),
        numpy_helper.from_array(np.array(QUERY_ZERO, np.uint8), "query_zero"),
    ]
    graph = helper.make_graph(nodes, "scan", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model
