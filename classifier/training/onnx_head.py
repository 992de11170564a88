"""The head of DM-FNet in ONNX, from the parts of a concatenation that is never made."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto

from classifier.nn.explained_classifier import TINY
from classifier.training.onnx_graph import FeatureMap, OnnxGraph
from classifier.training.onnx_operations import Array

_FLOAT = TensorProto.FLOAT


class Mixed(NamedTuple):
    """``whole + expand(narrow)``: a map before the 1x1 convolution that ends it."""

    whole: FeatureMap
    narrow: FeatureMap
    kernel: Array
    bias: Array


Part = FeatureMap | Mixed


def head(graph: OnnxGraph, features: Part | list[Part], layer: Any) -> dict[str, str]:
    """Write the outputs of `ExplainedClassifier` and return them by name."""
    parts = features if isinstance(features, list) else [features]
    pooled = graph.node("Concat", [_average(graph, part) for part in parts], axis=1)
    dense = [
        [graph.constant(values) for values in (inner.kernel, inner.bias)]
        for inner in (layer.embed, layer.score)
    ]
    embedding = graph.node("Relu", [graph.node("Gemm", [pooled, *dense[0]])])
    logits = graph.node("Gemm", [embedding, *dense[1]])
    return {
        "logits": logits,
        "embedding": embedding,
        "explanation": _explain(graph, parts, _gradient(graph, embedding, logits, layer), layer),
        "pooled": pooled,
    }


def _average(graph: OnnxGraph, part: Part) -> str:
    """The mean over all positions (n, channels)."""
    if isinstance(part, FeatureMap):
        return graph.node("Flatten", [graph.node("GlobalAveragePool", [part.name])])
    whole = graph.node("Add", [_average(graph, part.whole), graph.constant(part.bias)])
    return graph.node("Gemm", [_average(graph, part.narrow), graph.constant(part.kernel), whole])


def _gradient(graph: OnnxGraph, embedding: str, logits: str, layer: Any) -> str:
    """How the score of the predicted class grows with what enters the embedding (n, embedding)."""
    highest = graph.node("ReduceMax", [logits, graph.integers(1)])
    predicted = graph.node("Cast", [graph.node("GreaterOrEqual", [logits, highest])], to=_FLOAT)
    towards_class = graph.node(
        "MatMul", [predicted, graph.constant(np.transpose(layer.score.kernel))]
    )
    active = graph.node(
        "Cast", [graph.node("Greater", [embedding, graph.constant(0.0)])], to=_FLOAT
    )
    return graph.node("Mul", [towards_class, active])


def _explain(graph: OnnxGraph, parts: list[Part], gradient: str, layer: Any) -> str:
    """The channels of all parts, weighed by the gradient; see `ExplainedClassifier`."""
    kernel = np.asarray(layer.embed.kernel)
    terms, start = [], 0
    for part in parts:
        whole = part.whole if isinstance(part, Mixed) else part
        weights = kernel[start : start + whole.channels].T
        start += whole.channels
        terms.append(_relevance(graph, whole, gradient, weights))
        if isinstance(part, Mixed):
            terms.append(_relevance(graph, part.narrow, gradient, weights @ part.kernel.T))
            everywhere = graph.node(
                "MatMul", [gradient, graph.constant(weights @ part.bias[:, None])]
            )
            terms.append(graph.node("Unsqueeze", [everywhere, graph.integers(2)]))
    relevance = graph.node("Relu", [graph.node("Sum", terms)])
    highest = graph.node("ReduceMax", [relevance, graph.integers(2)])
    highest = graph.node("Add", [highest, graph.constant(TINY)])
    relevance = graph.node("Div", [relevance, highest])
    return graph.node("Reshape", [relevance, graph.integers(0, whole.height, whole.width)])


def _relevance(graph: OnnxGraph, x: FeatureMap, gradient: str, weights: Array) -> str:
    """One map's share in every position (n, 1, positions), by weights (embedding, channels)."""
    row = graph.node("MatMul", [gradient, graph.constant(weights)])
    row = graph.node("Unsqueeze", [row, graph.integers(1)])
    flat = graph.node("Reshape", [x.name, graph.integers(0, x.channels, -1)])
    return graph.node("MatMul", [row, flat])
