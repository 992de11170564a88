"""The part of MobileNetV2 that DM-FNet uses, without batch normalisation.

A normalisation with fixed statistics is a scale and a shift, so it is folded into the convolution
before it: one bias per channel remains. Nothing of a training set's statistics is left in the
network, it needs no inference mode of its own, and training it is faster.

Source: Sandler et al. 2018, MobileNetV2, arXiv:1801.04381. Layer names follow
``keras.applications.MobileNetV2``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import KerasTensor, Model, applications, layers
from numpy.typing import NDArray


class _Block(NamedTuple):
    number: int
    filters: int
    stride: int


# Inverted residual blocks 1 to 12 (expansion 6): output channels and stride.
_BLOCKS = (
    _Block(1, 24, 2),
    _Block(2, 24, 1),
    _Block(3, 32, 2),
    _Block(4, 32, 1),
    _Block(5, 32, 1),
    _Block(6, 64, 2),
    _Block(7, 64, 1),
    _Block(8, 64, 1),
    _Block(9, 64, 1),
    _Block(10, 96, 1),
    _Block(11, 96, 1),
    _Block(12, 96, 1),
)
_LAST_EXPANSION = "block_13_expand"
# How the names of all layers of the backbone begin.
BACKBONE_LAYERS = ("Conv1", "expanded_conv", "block_")
FEATURE_MAPS = ("block_3_expand", "block_6_expand", _LAST_EXPANSION)


def mobilenet_features(inputs: KerasTensor) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Return the three feature maps that DM-FNet fuses, after their ReLU6.

    Args:
        inputs: Images (n, s, s, 3) in -1..1, with s a multiple of 16.

    Returns:
        block_3_expand (n, s/4, s/4, 144), block_6_expand (n, s/8, s/8, 192) and block_13_expand
        (n, s/16, s/16, 576).
    """
    maps: dict[str, KerasTensor] = {}
    x = layers.Conv2D(32, 3, strides=2, padding="same", name="Conv1")(inputs)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="expanded_conv_depthwise")(x)
    x = layers.ReLU(6.0, name="expanded_conv_depthwise_relu")(x)
    x = layers.Conv2D(16, 1, name="expanded_conv_project")(x)
    for block in _BLOCKS:
        x = _inverted_residual(x, block, maps)
    _expand(x, _LAST_EXPANSION, maps)
    first, second, third = (maps[name] for name in FEATURE_MAPS)
    return first, second, third


def _expand(x: KerasTensor, name: str, maps: dict[str, KerasTensor]) -> KerasTensor:
    """Widen a map six times and keep it under its name."""
    x = layers.Conv2D(6 * x.shape[-1], 1, name=name)(x)
    maps[name] = layers.ReLU(6.0, name=f"{name}_relu")(x)
    return maps[name]


def _inverted_residual(
    inputs: KerasTensor, block: _Block, maps: dict[str, KerasTensor]
) -> KerasTensor:
    prefix = f"block_{block.number}"
    x = _expand(inputs, f"{prefix}_expand", maps)
    padding = "same"
    if block.stride == 2:
        # The weights were trained with this padding, which differs from "same" by one pixel.
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{prefix}_pad")(x)
        padding = "valid"
    x = layers.DepthwiseConv2D(
        3, strides=block.stride, padding=padding, name=f"{prefix}_depthwise"
    )(x)
    x = layers.ReLU(6.0, name=f"{prefix}_depthwise_relu")(x)
    x = layers.Conv2D(block.filters, 1, name=f"{prefix}_project")(x)
    if inputs.shape[-1] == block.filters and block.stride == 1:
        x = layers.Add(name=f"{prefix}_add")([inputs, x])
    return x


def load_imagenet(model: Model, path: Path) -> int:
    """Fill the backbone of ``model`` from a weights file of ``keras.applications.MobileNetV2``.

    The file holds MobileNetV2 1.0 without its top. Its batch normalisation, whatever its
    statistics, is folded into the biases and kernels.

    Returns:
        The number of convolutions filled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the model has no layer of the backbone.
    """
    if not path.is_file():
        raise FileNotFoundError(f"ImageNet weights not found: {path}")
    reference = applications.MobileNetV2(include_top=False, weights=None, input_shape=(128, 128, 3))
    reference.load_weights(path)
    names = {layer.name for layer in model.layers}
    filled = 0
    for layer in reference.layers:
        if layer.name in names and layer.weights:
            normalisation = reference.get_layer(_normalisation_name(layer.name))
            model.get_layer(layer.name).set_weights(_fold(layer, normalisation))
            filled += 1
    if not filled:
        raise ValueError(f"model {model.name!r} has no layer of MobileNetV2")
    return filled


def _normalisation_name(convolution: str) -> str:
    return "bn_Conv1" if convolution == "Conv1" else f"{convolution}_BN"


def _fold(convolution: Any, normalisation: Any) -> list[NDArray[np.float32]]:
    """Kernel and bias of a convolution that includes the batch normalisation after it."""
    kernel = convolution.get_weights()[0]
    gamma, beta, mean, variance = normalisation.get_weights()
    scale = gamma / np.sqrt(variance + normalisation.epsilon)
    depthwise = isinstance(convolution, layers.DepthwiseConv2D)
    folded = kernel * (scale[:, None] if depthwise else scale)
    return [folded, beta - mean * scale]
