"""The selective-kernel block: two receptive fields, weighed per channel by the image itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from classifier.nn.dilated_convolution import DilatedConvolution


@keras.saving.register_keras_serializable(package="wbclab")
class SelectiveKernel(layers.Layer):
    """Weigh a local against a wide view of the same feature map.

    The local branch is two 3x3 convolutions. The wide branch is the sum of a 5x5 convolution with
    dilation 3 and of a second one with dilation 5 that follows it. A squeeze (global average, dense
    ``filters // reduction``, dense ``2 * filters``, sigmoid) weighs each branch per channel.

    The second dilated kernel has 3x3 taps: with dilation 5, the outer ring of a 5x5 kernel reaches
    10 pixels away and never meets an 8x8 map, so the result is the same with fewer weights.

    Group instead of batch normalisation: no statistics of one laboratory are stored.

    Args:
        filters: Number of output channels; a multiple of ``groups``.
        reduction: Divisor of the squeeze.
        groups: Groups of the group normalisation.

    Shapes: input (n, h, w, c), output (n, h, w, filters).

    Source: Li et al. 2019, Selective Kernel Networks, arXiv:1903.06586; Wu and He 2018, Group
    Normalization, arXiv:1803.08494.
    """

    def __init__(
        self, filters: int = 64, reduction: int = 16, groups: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if filters <= 0 or filters % groups:
            raise ValueError(f"filters must be a multiple of groups={groups}, received {filters}")
        if reduction <= 0 or filters < reduction:
            raise ValueError(
                f"reduction must be between 1 and filters={filters}, received {reduction}"
            )
        self.filters = filters
        self.reduction = reduction
        self.groups = groups
        self.local_first = self._convolution(3, 1, "local_first")
        self.local_second = self._convolution(3, 1, "local_second")
        self.wide_first = self._convolution(5, 3, "wide_first")
        self.wide_second = self._convolution(3, 5, "wide_second")
        self.normalisations = [
            layers.GroupNormalization(groups, name=f"normalisation_{index}") for index in range(4)
        ]
        self.squeeze = layers.Dense(filters // reduction, activation="relu", name="squeeze")
        self.excite = layers.Dense(2 * filters, activation="sigmoid", name="excite")

    def _convolution(self, size: int, dilation: int, name: str) -> layers.Conv2D:
        return DilatedConvolution(
            self.filters, size, dilation, kernel_initializer="he_normal", name=name
        )

    def build(self, input_shape: Any) -> None:
        inner = (*input_shape[:-1], self.filters)
        self.local_first.build(input_shape)
        self.local_second.build(inner)
        self.wide_first.build(input_shape)
        self.wide_second.build(inner)
        for normalisation in self.normalisations:
            normalisation.build(inner)
        self.squeeze.build((input_shape[0], self.filters))
        self.excite.build((input_shape[0], self.filters // self.reduction))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        first, second, third, fourth = self.normalisations
        local = ops.relu(first(self.local_first(inputs, training=training)))
        local = ops.relu(second(self.local_second(local, training=training)))
        near = ops.relu(third(self.wide_first(inputs, training=training)))
        wide = near + ops.relu(fourth(self.wide_second(near, training=training)))
        context = ops.mean(local + wide, axis=(1, 2))
        weights = self.excite(self.squeeze(context))[:, None, None, :]
        return local * weights[..., : self.filters] + wide * weights[..., self.filters :]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "reduction": self.reduction,
            "groups": self.groups,
        }
