"""DM-FNet written as an ONNX graph: the same numbers with less work than the layers say.

The network as it is trained is written for clarity and for gradients. What runs a million times is
written here once more, from the same weights, in the form processors compute fastest:

- Maps stay (n, channels, height, width) throughout, so nothing but the image is transposed.
- A 1x1 convolution of a concatenation or of an enlarged map runs on each part at its own size, and
  parts of one size are added before they are enlarged.
- The last 1x1 convolution of each context attention is linear, and so are the average and the
  weighted sum behind it: it is applied to the average, and its transpose to the weights, instead of
  to every position.
- Group normalisation and the activations are the operators that runtimes have code of their own
  for, and each scale with its shift is one convolution of a single tap.
- Rows and columns of zeros around a map belong to the convolution behind it, except for wide
  dilated kernels: see `convolve`.

Each rewriting is exact but for rounding; the exporter compares the result with Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from keras import Model, layers, tree

from classifier.nn.context_attention import ContextAttention
from classifier.nn.explained_classifier import ExplainedClassifier
from classifier.nn.gelu import ExactGelu
from classifier.nn.multi_scale_fusion import MultiScaleFusion
from classifier.nn.selective_kernel import SelectiveKernel
from classifier.training.onnx_graph import FeatureMap, OnnxGraph
from classifier.training.onnx_head import Mixed, Part, head
from classifier.training.onnx_operations import (
    Padded,
    convolution,
    dense,
    enlarge,
    gelu,
    normalise,
)


class UnknownLayerError(Exception):
    """The network has a layer that this module cannot write."""


def write_network(model: Model) -> onnx.ModelProto:
    """Write a built network of the layers in `_RULES`; input (n, height, width, 3) in 0..255.

    Raises:
        UnknownLayerError: naming the layer.
    """
    graph = OnnxGraph()
    image = model.input
    values: dict[int, Any] = {id(image): image.name}

    def value(tensor: Any) -> Any:
        return values[id(tensor)]

    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        if type(layer) not in _RULES:
            raise UnknownLayerError(f"layer {layer.name!r} is a {type(layer).__name__}")
        inputs = tree.map_structure(value, layer.input)
        written = _RULES[type(layer)](graph, inputs, layer)
        if isinstance(layer.output, list):
            values |= zip(map(id, layer.output), written, strict=True)
        else:
            values[id(layer.output)] = written
    for name, tensor in model.output.items():
        graph.output(name, written[name], tensor.shape[1:])
    return graph.model(model.name, {image.name: image.shape[1:]})


def _rescaling(graph: OnnxGraph, image: str, layer: Any) -> FeatureMap:
    _, height, width, channels = layer.input.shape
    x = FeatureMap(graph.node("Transpose", [image], perm=(0, 3, 1, 2)), channels, height, width)
    x = graph.unary("Mul", x, graph.constant(layer.scale))
    return graph.unary("Add", x, graph.constant(layer.offset))


def _relu6(graph: OnnxGraph, x: FeatureMap, layer: Any) -> FeatureMap:
    return graph.unary("Clip", x, graph.constant(0.0), graph.constant(layer.max_value))


def _zero_padding(_graph: OnnxGraph, x: FeatureMap, layer: Any) -> Padded:
    (top, bottom), (left, right) = layer.padding
    return Padded(x, (top, left, bottom, right))


def _add(graph: OnnxGraph, maps: Sequence[FeatureMap], _layer: Any) -> FeatureMap:
    first, second = maps
    return graph.binary("Add", first, second)


def _max_pooling(graph: OnnxGraph, x: FeatureMap, layer: Any) -> FeatureMap:
    side = layer.pool_size[0]
    name = graph.node("MaxPool", [x.name], kernel_shape=(side, side), strides=(side, side))
    return FeatureMap(name, x.channels, x.height // side, x.width // side)


def _selective_kernel(graph: OnnxGraph, x: FeatureMap, layer: Any) -> FeatureMap:
    first, second, third, fourth = layer.normalisations

    def view(x: FeatureMap, kernel: Any, normalisation: Any) -> FeatureMap:
        x = normalise(graph, convolution(graph, x, kernel), normalisation)
        return graph.unary("Relu", x)

    local = view(view(x, layer.local_first, first), layer.local_second, second)
    near = view(x, layer.wide_first, third)
    wide = graph.binary("Add", near, view(near, layer.wide_second, fourth))
    both = graph.binary("Add", local, wide)
    context = FeatureMap(graph.node("GlobalAveragePool", [both.name]), layer.filters, 1, 1)
    squeezed = graph.unary("Relu", dense(graph, context, layer.squeeze))
    halves = (slice(None, layer.filters), slice(layer.filters, None))
    weighed = [
        graph.binary(
            "Mul", branch, graph.unary("Sigmoid", dense(graph, squeezed, layer.excite, half))
        )
        for branch, half in zip((local, wide), halves, strict=True)
    ]
    return graph.binary("Add", *weighed)


def _fusion(graph: OnnxGraph, maps: Sequence[FeatureMap], layer: Any) -> list[FeatureMap]:
    shared, separate = slice(None, layer.filters), slice(layer.filters, None)
    sums: dict[int, FeatureMap] = {}
    for x, own, factor in zip(maps, layer.own, layer.factors, strict=True):
        part = dense(graph, x, own, shared)
        sums[factor] = graph.binary("Add", sums[factor], part) if factor in sums else part
    fused, *others = (enlarge(graph, x, factor) for factor, x in sums.items())
    for other in others:
        fused = graph.binary("Add", fused, other)
    fused = gelu(graph, normalise(graph, fused, layer.fused_normalisation))
    results = []
    for index, x in enumerate(maps):
        part = dense(graph, x, layer.own[index], separate)
        part = enlarge(graph, part, layer.factors[index])
        part = graph.binary("Add", part, dense(graph, fused, layer.shared[index]))
        results.append(normalise(graph, part, layer.normalisations[index]))
    return results


def _context_attention(graph: OnnxGraph, x: FeatureMap, layer: Any) -> Mixed:
    path = gelu(graph, convolution(graph, x, layer.enter))
    attention = path
    for linear in (layer.near, layer.far, layer.attend):
        attention = convolution(graph, attention, linear)
    attended = graph.binary("Mul", path, attention)
    attended = gelu(graph, convolution(graph, attended, layer.leave))
    attended = graph.binary("Add", x, attended)
    narrow = convolution(graph, attended, layer.compress)
    narrow = gelu(graph, convolution(graph, narrow, layer.mix))
    kernel = np.asarray(layer.expand.kernel)[0, 0]
    return Mixed(attended, narrow, kernel, np.asarray(layer.expand.bias))


def _features(_graph: OnnxGraph, parts: list[Part], _layer: Any) -> list[Part]:
    """A concatenation that only the head reads stays a list."""
    return parts


_RULES: dict[type, Callable[[OnnxGraph, Any, Any], Any]] = {
    layers.Rescaling: _rescaling,
    layers.Conv2D: convolution,
    layers.DepthwiseConv2D: convolution,
    layers.ReLU: _relu6,
    layers.ZeroPadding2D: _zero_padding,
    layers.Add: _add,
    layers.MaxPooling2D: _max_pooling,
    layers.Concatenate: _features,
    ExactGelu: gelu,
    SelectiveKernel: _selective_kernel,
    MultiScaleFusion: _fusion,
    ContextAttention: _context_attention,
    ExplainedClassifier: head,
}
