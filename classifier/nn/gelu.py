"""The exact Gaussian error linear unit, expressed through erf."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

SQRT_HALF = 0.5**0.5


@keras.saving.register_keras_serializable(package="wbclab")
class ExactGelu(keras.layers.Layer):
    """``x * (1 + erf(x / sqrt(2))) / 2``, for an input of any shape.

    ``keras.activations.gelu`` computes the same numbers through erfc on some backends, and the
    ONNX node that follows from it is refused by several runtimes.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    def call(self, inputs: Any) -> Any:
        return 0.5 * inputs * (1.0 + ops.erf(inputs * SQRT_HALF))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
