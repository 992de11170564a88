"""Changes of the stain, in the space in which stains add up.

Source: Ruifrok and Johnston 2001 (separation of stains by their optical density); Tellez et al.
2018, arXiv:1808.05896 (jitter of the separated stains as augmentation).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

# Optical density per channel (R, G, B) of haematoxylin, eosin and a third, brown direction.
STAIN_DENSITIES = np.array(
    [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype="float32"
)
_DARKEST = 1.0 / 255.0


def jitter_stain(images: Any, strength: float, generator: keras.random.SeedGenerator) -> Any:
    """Scale and shift the amount of each stain, and turn the stains' colours a little.

    Args:
        images: Tensor (n, h, w, 3) in 0..1.
        strength: 1 scales each stain by about 0.6 to 1.6, and in half of the images all of them
            together by 0.4 to 1.5 (a pale or a heavy stain); 0 returns the images as they are.
        generator: Source of the random numbers.

    Returns:
        Tensor of the same shape, in 0..1.
    """
    if not strength:
        return images
    count = ops.shape(images)[0]
    scale = ops.exp(
        keras.random.truncated_normal((count, 1, 3), 0.0, 0.25 * strength, seed=generator)
    )
    depth = keras.random.uniform((count, 1, 1), -0.9 * strength, 0.4 * strength, seed=generator)
    chosen = keras.random.uniform((count, 1, 1), seed=generator) < 0.5
    scale = scale * ops.where(chosen, ops.exp(depth), 1.0)
    shift = keras.random.truncated_normal((count, 1, 3), 0.0, 0.03 * strength, seed=generator)
    turn = keras.random.truncated_normal((count, 3, 3), 0.0, 0.06 * strength, seed=generator)
    colours = STAIN_DENSITIES[None] + turn
    separate = np.linalg.inv(STAIN_DENSITIES).astype("float32")
    density = -ops.log(ops.maximum(images, _DARKEST))
    density = transform_colours(density, ops.matmul(separate[None] * scale, colours))
    density = density + ops.matmul(shift, colours)[:, None]
    return ops.exp(-ops.maximum(density, 0.0))


def transform_colours(images: Any, matrices: Any) -> Any:
    """Multiply each pixel of image n (h, w, 3), as a row, with matrix n (3, 3) of that image."""
    _, height, width, channels = images.shape
    pixels = ops.reshape(images, (-1, height * width, channels))
    return ops.reshape(ops.matmul(pixels, matrices), (-1, height, width, channels))
