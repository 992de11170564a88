"""The context attention block: large-kernel attention followed by a local mixing step."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from classifier.nn.gelu import ExactGelu


@keras.saving.register_keras_serializable(package="wbclab")
class ContextAttention(layers.Layer):
    """Attend over a wide neighbourhood with decomposed large kernels.

    Attention: 1x1 convolution and GELU; a depthwise 5x5 and a depthwise 7x7 convolution with
    dilation 3 (together a receptive field of 23) and a 1x1 convolution give the attention, which is
    multiplied onto the input of that path; 1x1 convolution and GELU; residual. Mixing: 1x1
    convolution to ``channels / bottleneck``, depthwise 3x3, GELU, 1x1 convolution; residual.

    Args:
        bottleneck: Divisor of the channels in the mixing step.

    Shapes: input and output (n, h, w, c), with c a multiple of ``bottleneck``.

    Source: the attention follows Guo et al. 2023, Visual Attention Network, arXiv:2202.09741.
    """

    def __init__(self, bottleneck: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if bottleneck < 1:
            raise ValueError(f"bottleneck must be at least 1, received {bottleneck}")
        self.bottleneck = bottleneck
        self.gelu = ExactGelu(name="gelu")
        self.near = layers.DepthwiseConv2D(5, padding="same", name="near")
        self.far = layers.DepthwiseConv2D(7, padding="same", dilation_rate=3, name="far")
        self.mix = layers.DepthwiseConv2D(3, padding="same", name="mix")

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        if channels % self.bottleneck:
            raise ValueError(
                f"channels must be a multiple of bottleneck={self.bottleneck}, received {channels}"
            )
        narrow = (*input_shape[:-1], channels // self.bottleneck)
        self.enter = layers.Conv2D(channels, 1, name="enter")
        self.attend = layers.Conv2D(channels, 1, name="attend")
        self.leave = layers.Conv2D(channels, 1, name="leave")
        self.compress = layers.Conv2D(narrow[-1], 1, name="compress")
        self.expand = layers.Conv2D(channels, 1, name="expand")
        for layer in (self.enter, self.near, self.far, self.attend, self.leave, self.compress):
            layer.build(input_shape)
        self.mix.build(narrow)
        self.expand.build(narrow)
        self.built = True

    def call(self, inputs: Any) -> Any:
        path = self.gelu(self.enter(inputs))
        attention = self.attend(self.far(self.near(path)))
        attended = inputs + self.gelu(self.leave(path * attention))
        mixed = self.expand(self.gelu(self.mix(self.compress(attended))))
        return attended + mixed

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bottleneck": self.bottleneck}
