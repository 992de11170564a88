"""What a forward pass costs."""

from __future__ import annotations

import math
from typing import Any

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
