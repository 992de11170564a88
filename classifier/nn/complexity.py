"""What a forward pass costs."""

from __future__ import annotations

import math
from typing import Any

import onnx
from keras import Model, layers


def count_multiply_adds(model: Model) -> int:
    """Count the multiply-adds of all convolutions and dense layers for one image.

    Element-wise operations, normalisation and the explanation map (0.3 M) are left out, as is
    usual. Padding is counted as if it were image.
    """
    return sum(_layer_multiply_adds(layer) for layer in _leaf_layers(model))


def _leaf_layers(model: Model) -> list[Any]:
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    return [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]


def _layer_multiply_adds(layer: Any) -> int:
    shape = layer.get_build_config()["input_shape"]
    output = layer.compute_output_shape(shape)
    positions = math.prod(output[1:-1])
    return int(positions * math.prod(layer.kernel.shape))


def count_graph_multiply_adds(network: onnx.ModelProto) -> dict[str, int]:
    """Count the multiply-adds of each convolution and dense layer of an exported network.

    Those that meet padding are left out, as runtimes need not compute them.

    Returns:
        For one image, by the name of the node.
    """
    graph = onnx.shape_inference.infer_shapes(network).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }
    shapes |= {constant.name: list(constant.dims) for constant in graph.initializer}
    counts = {}
    for node in graph.node:
        if node.op_type == "Gemm":
            counts[node.name] = math.prod(shapes[node.input[1]])
        elif node.op_type == "Conv":
            outputs, inputs, *_ = shapes[node.input[1]]
            counts[node.name] = outputs * inputs * _meetings(node, shapes)
    return counts


def _meetings(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """How often any tap of a kernel meets any pixel of its map."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    found = 1
    for axis in (0, 1):
        size, outputs = (shapes[name][2 + axis] for name in (node.input[0], node.output[0]))
        start, stride, rate = (attributes[key][axis] for key in ("pads", "strides", "dilations"))
        found *= sum(
            0 <= position * stride + tap * rate - start < size
            for position in range(outputs)
            for tap in range(attributes["kernel_shape"][axis])
        )
    return found
