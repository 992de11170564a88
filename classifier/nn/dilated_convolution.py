"""A dilated convolution with a fast gradient on small maps."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="wbclab")
class DilatedConvolution(layers.Conv2D):
    """``Conv2D`` with "same" padding and stride 1 that trains fast where a map is small.

    On a processor, backends compute the gradient of a dilated convolution by cutting the map into
    interleaved pieces, which on an 8x8 map costs several times the arithmetic. In training, one
    matrix product gives the contribution of every kernel tap, and the contributions are shifted and
    added. In inference it is the ordinary convolution. Both give the same numbers.

    Args:
        filters: Number of output channels.
        kernel_size: Side of the kernel, odd.
        dilation_rate: Distance between taps.

    Shapes: input (n, h, w, c), output (n, h, w, filters).
    """

    def __init__(
        self, filters: int, kernel_size: int, dilation_rate: int = 1, **kwargs: Any
    ) -> None:
        side = kernel_size if isinstance(kernel_size, int) else kernel_size[0]
        rate = dilation_rate if isinstance(dilation_rate, int) else dilation_rate[0]
        if side % 2 == 0:
            raise ValueError(f"kernel_size must be odd, received {kernel_size}")
        kwargs |= {"padding": "same", "strides": 1, "use_bias": False}
        super().__init__(filters, side, dilation_rate=rate, **kwargs)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return super().call(inputs)
        height, width, channels = inputs.shape[1:]
        side, rate = self.kernel_size[0], self.dilation_rate[0]
        kernel = ops.reshape(ops.transpose(self.kernel, (2, 0, 1, 3)), (channels, -1))
        taps = ops.matmul(ops.reshape(inputs, (-1, channels)), kernel)
        taps = ops.reshape(taps, (-1, height, width, side * side, self.filters))
        total = 0.0
        for index, tap in enumerate(ops.unstack(taps, side * side, axis=3)):
            down = (index // side - side // 2) * rate
            right = (index % side - side // 2) * rate
            if abs(down) < height and abs(right) < width:
                total = total + _shifted(tap, down, right)
        return total


def _shifted(feature_map: Any, down: int, right: int) -> Any:
    """The map seen from ``down`` and ``right`` pixels further, with zeros from outside."""
    height, width = feature_map.shape[1:3]
    rows = slice(max(0, down), height + min(0, down))
    columns = slice(max(0, right), width + min(0, right))
    padding = (
        (0, 0),
        (max(0, -down), max(0, down)),
        (max(0, -right), max(0, right)),
        (0, 0),
    )
    return ops.pad(feature_map[:, rows, columns, :], padding)
