"""The operations of DM-FNet's layers in ONNX, from the weights of Keras layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import layers
from numpy.typing import NDArray

from classifier.training.onnx_graph import FeatureMap, OnnxGraph

Array = NDArray[np.float32]
Pads = tuple[int, int, int, int]
_NO_PADS: Pads = (0, 0, 0, 0)


class Padded(NamedTuple):
    """A map and the zeros around it (top, left, bottom, right), which are never written out."""

    map: FeatureMap
    pads: Pads


def convolution(graph: OnnxGraph, x: FeatureMap | Padded, layer: Any) -> FeatureMap:
    """Any of Keras' convolutions."""
    x, pads = x if isinstance(x, Padded) else (x, _NO_PADS)
    kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias) if layer.use_bias else None
    stride, rate = layer.strides[0], layer.dilation_rate[0]
    if layer.padding == "same":
        pads = _same_pads(x, kernel.shape[:2], stride, rate)
    if isinstance(layer, layers.DepthwiseConv2D):
        return convolve(graph, x, kernel.transpose(2, 3, 0, 1), bias, pads, stride, rate)
    return convolve(graph, x, kernel.transpose(3, 2, 0, 1), bias, pads, stride, rate)


def _same_pads(x: FeatureMap, kernel: Sequence[int], stride: int, rate: int) -> Pads:
    """Zeros that give a map of size / stride; an odd one goes to the bottom and to the right."""
    totals = [
        max(0, (-(-size // stride) - 1) * stride + (taps - 1) * rate + 1 - size)
        for size, taps in zip((x.height, x.width), kernel, strict=True)
    ]
    top, left = (total // 2 for total in totals)
    return top, left, totals[0] - top, totals[1] - left


def convolve(
    graph: OnnxGraph,
    x: FeatureMap,
    kernel: Array,
    bias: Array | None,
    pads: Pads = _NO_PADS,
    stride: int = 1,
    rate: int = 1,
) -> FeatureMap:
    """A convolution with a kernel (outputs, inputs, height, width); one input means depthwise.

    ONNX Runtime leaves out rows of taps that see only padding, but computes outputs near the left
    and right edge one by one. A wide dilated depthwise kernel has no others, so its zero columns
    are written out first: with them it takes less than half the time.
    """
    outputs, inputs, *taps = kernel.shape
    groups = x.channels // inputs
    if groups > 1 and rate > 1:
        top, left, bottom, right = pads
        copy = np.ones((x.channels, 1, 1, 1), np.float32)
        x = convolve(graph, x, copy, None, (0, left, 0, right))
        pads = (top, 0, bottom, 0)
    operands = [x.name, graph.constant(kernel)]
    if bias is not None:
        operands.append(graph.constant(bias))
    name = graph.node(
        "Conv",
        operands,
        kernel_shape=taps,
        pads=pads,
        strides=(stride, stride),
        dilations=(rate, rate),
        group=groups,
    )
    sides = [
        (size + before + after - (tap - 1) * rate - 1) // stride + 1
        for size, before, after, tap in zip(
            (x.height, x.width), pads[:2], pads[2:], taps, strict=True
        )
    ]
    return FeatureMap(name, outputs, *sides)


def dense(graph: OnnxGraph, x: FeatureMap, layer: Any, part: slice = slice(None)) -> FeatureMap:
    """A 1x1 convolution with the weights of a layer, or with some of its outputs."""
    kernel = np.asarray(layer.kernel).reshape(x.channels, -1)[:, part]
    bias = np.asarray(layer.bias)[part] if layer.use_bias else None
    return convolve(graph, x, kernel.T[:, :, None, None], bias)


def normalise(graph: OnnxGraph, x: FeatureMap, layer: Any) -> FeatureMap:
    """Group normalisation: each group is an instance, then a scale and a shift per channel."""
    groups = layer.groups
    flat = graph.node("Reshape", [x.name, graph.integers(0, groups, -1)])
    unit = [graph.constant(np.ones(groups)), graph.constant(np.zeros(groups))]
    flat = graph.node("InstanceNormalization", [flat, *unit], epsilon=layer.epsilon)
    shape = graph.integers(0, x.channels, x.height, x.width)
    x = x._replace(name=graph.node("Reshape", [flat, shape]))
    scale = np.asarray(layer.gamma).reshape(-1, 1, 1, 1)
    return convolve(graph, x, scale, np.asarray(layer.beta))


def gelu(graph: OnnxGraph, x: FeatureMap, _layer: Any = None) -> FeatureMap:
    return graph.unary("Gelu", x)


def enlarge(graph: OnnxGraph, x: FeatureMap, factor: int) -> FeatureMap:
    """Repeat rows and columns."""
    if factor == 1:
        return x
    how = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    scales = graph.constant([1, 1, factor, factor])
    name = graph.node("Resize", [x.name, "", scales], **how)
    return FeatureMap(name, x.channels, factor * x.height, factor * x.width)
