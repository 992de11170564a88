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
# About the density of a nucleus in green.
_FIXED_DENSITY = 1.8


def jitter_stain(
    images: Any, strength: float, generator: keras.random.SeedGenerator, bend: float = 0.0
) -> Any:
    """Scale and shift the amount of each stain, and turn the stains' colours a little.

    Args:
        images: Tensor (n, h, w, 3) in 0..1.
        strength: 1 scales each stain by about 0.6 to 1.6, and in half of the images all of them
            together by 0.4 to 1.5 (a pale or a heavy stain) and what they take of the blue light
            by 0 to 1.7; 0 returns the images as they are.
        generator: Source of the random numbers.
        bend: See :func:`bend_densities`.

    Returns:
        Tensor of the same shape, in 0..1.
    """
    if not strength:
        return images
    count = ops.shape(images)[0]
    scale = ops.exp(
        keras.random.truncated_normal((count, 1, 3), 0.0, 0.25 * strength, seed=generator)
    )
    shift = keras.random.truncated_normal((count, 1, 3), 0.0, 0.03 * strength, seed=generator)
    turn = keras.random.truncated_normal((count, 3, 3), 0.0, 0.06 * strength, seed=generator)
    colours = STAIN_DENSITIES[None] + turn
    separate = np.linalg.inv(STAIN_DENSITIES).astype("float32")
    density = -ops.log(ops.maximum(images, _DARKEST))
    density = transform_colours(density, ops.matmul(separate[None] * scale, colours))
    density = density + ops.matmul(shift, colours)[:, None]
    density = ops.maximum(density, 0.0) * _channel_gains(count, strength, generator)
    if bend:
        density = bend_densities(density, count, bend, generator)
    return ops.exp(-density)


def bend_densities(
    density: Any, count: Any, strength: float, generator: keras.random.SeedGenerator
) -> Any:
    """Bend the scale of density (n, h, w, 3) per channel, as cameras and thick stains do.

    In half of the images what is dark runs together and what is pale gains: the chromatin of a
    nucleus is lost and cytoplasm looks deeper than it is. About :data:`_FIXED_DENSITY` stays.
    """

    def draw(low: float, high: float, channels: int) -> Any:
        return keras.random.uniform((count, 1, 1, channels), low, high, seed=generator)

    power = ops.exp(draw(-0.25, 0.25, 1) * strength + draw(-0.12, 0.12, 3) * strength)
    bent = _FIXED_DENSITY * ops.power(density / _FIXED_DENSITY + 1e-4, power)
    ceiling = ops.exp(draw(-0.3, 1.1, 1) + draw(-0.2, 0.2, 3))
    flat = ceiling * ops.tanh(bent / ceiling)
    kept = ceiling * ops.tanh(_FIXED_DENSITY / ceiling) / _FIXED_DENSITY
    level = ops.power(kept, -draw(0.0, 1.0, 1))
    return ops.where(draw(0.0, 1.0, 1) < 0.5 * strength, flat * level, bent)


def _channel_gains(count: Any, strength: float, generator: keras.random.SeedGenerator) -> Any:
    """Factors (n, 1, 1, 3) of the optical density: how deep a stain is, and of which colour.

    Between laboratories the nuclei differ most in blue, where one camera sees them as bright as
    the background and another almost black; and in depth, by three times either way.
    """

    def draw(low: float, high: float, channels: int) -> Any:
        return keras.random.uniform((count, 1, 1, channels), low, high, seed=generator)

    depth = ops.where(draw(0.0, 1.0, 1) < 0.5, draw(-0.9, 0.4, 1) * strength, 0.0)
    gains = ops.exp(depth + draw(-0.3, 0.3, 3) * strength)
    blue = ops.where(draw(0.0, 1.0, 1) < 0.5, draw(-1.0, 0.7, 1) * strength, 0.0)
    red_green = ops.ones_like(gains[..., :2])
    return gains * ops.concatenate([red_green, ops.maximum(1.0 + blue, 0.0)], axis=-1)


def transform_colours(images: Any, matrices: Any) -> Any:
    """Multiply each pixel of image n (h, w, 3), as a row, with matrix n (3, 3) of that image."""
    _, height, width, channels = images.shape
    pixels = ops.reshape(images, (-1, height * width, channels))
    return ops.reshape(ops.matmul(pixels, matrices), (-1, height, width, channels))
