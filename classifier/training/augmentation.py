"""Random changes of the training images, computed on the device inside the training graph.

What differs between laboratories is what gets varied: the scale of the crop, the orientation, the
stain, the lamp and camera, the focus. Everything is keras.ops and keras.random, so it runs under
any backend. Values are 0..1 inside and 0..255 at both ends.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from classifier.training.stain import jitter_stain, transform_colours

# Rows: luma and the two axes of the colour plane, as sums of red, green and blue.
TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], dtype="float32"
)


@keras.saving.register_keras_serializable(package="wbclab")
class CellAugmentation(layers.Layer):
    """Turn large training crops into varied inputs of the network.

    Args:
        output_size: Side of the output. The input may be wider, at the same scale: what is
            around the middle comes into view when it is shifted, turned or zoomed out.
        zoom: Smallest and largest side of the visible part, relative to the output. In a quarter
            of the images it stays between 0.95 and 1.05.
        shift: Largest displacement of the centre, relative to the visible part.
        stain: Strength of the change of stain (0 switches it off).
        colour: Strength of hue, saturation, gamma, channel gains, contrast and illumination.
        focus: Strength of blur, sharpening, haze and noise.
        bend: Strength of the bending of the scale of density; 0, as without stain, for none.
        texture: How often and how much a random filter is mixed in.
        plain: Share of the images that are only placed and keep their stain, colours and focus,
            so that the training laboratory itself is not forgotten among its variations.
        seed: Seed of the random numbers.

    Shapes: input (n, m, m, 3) in 0..255 of any type, m >= s, output (n, s, s, 3) float32 in 0..255.
    Outside training the middle is cut out.
    """

    def __init__(
        self,
        output_size: int = 128,
        zoom: tuple[float, float] = (0.7, 1.45),
        shift: float = 0.08,
        stain: float = 1.0,
        colour: float = 1.0,
        focus: float = 1.0,
        bend: float = 0.0,
        texture: float = 0.0,
        plain: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if output_size <= 0:
            raise ValueError(f"output_size must be positive, received {output_size}")
        if not 0.0 < zoom[0] <= zoom[1]:
            raise ValueError(f"zoom must be two increasing positive numbers, received {zoom}")
        if not 0.0 <= plain <= 1.0:
            raise ValueError(f"plain must be a share between 0 and 1, received {plain}")
        strengths = (shift, stain, colour, focus, bend, texture)
        if min(strengths) < 0.0:
            raise ValueError(
                "shift, stain, colour, focus, bend and texture must not be negative, received "
                f"{strengths}"
            )
        self.output_size = output_size
        self.zoom = (float(zoom[0]), float(zoom[1]))
        self.shift = shift
        self.stain = stain
        self.colour = colour
        self.focus = focus
        self.bend = bend
        self.texture = texture
        self.plain = plain
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        images = ops.cast(inputs, "float32") / 255.0
        if not training:
            return 255.0 * self._middle(images)
        placed = self._middle(self._place(images))
        images = self._refocus(placed)
        images = jitter_stain(images, self.stain, self.generator, self.bend)
        images = self._recolour(images)
        images = self._retexture(images)
        images = self._disturb(images)
        if self.plain:
            images = ops.where(self._uniform(images, 0.0, 1.0) < self.plain, placed, images)
        return 255.0 * ops.clip(images, 0.0, 1.0)

    def _middle(self, images: Any) -> Any:
        start = (images.shape[1] - self.output_size) // 2
        end = start + self.output_size
        return images[:, start:end, start:end]

    def _uniform(self, images: Any, low: float, high: float, channels: int = 1) -> Any:
        """One random number per image (and channel), shaped to broadcast over the pixels."""
        shape = (ops.shape(images)[0], 1, 1, channels)
        return keras.random.uniform(shape, low, high, seed=self.generator)

    def _normal(self, images: Any, deviation: float, channels: int = 1) -> Any:
        """Like :meth:`_uniform`, normally distributed but cut at two deviations."""
        shape = (ops.shape(images)[0], 1, 1, channels)
        return keras.random.truncated_normal(shape, 0.0, deviation, seed=self.generator)

    def _place(self, images: Any) -> Any:
        """Rotate by any angle, flip, zoom, stretch a little and shift, in one resampling."""
        draw = self._uniform
        wide = ops.exp(draw(images, math.log(self.zoom[0]), math.log(self.zoom[1])))
        scale = ops.where(draw(images, 0.0, 1.0) < 0.25, draw(images, 0.95, 1.05), wide)[:, 0, 0, 0]
        stretch = ops.exp(self._normal(images, 0.05))[:, 0, 0, 0]
        angle = draw(images, 0.0, 2.0 * math.pi)[:, 0, 0, 0]
        flip = ops.sign(draw(images, -1.0, 1.0))[:, 0, 0, 0]
        size = images.shape[1]
        shift = draw(images, -self.shift, self.shift, 2)[:, 0, 0, :]
        offset = shift * scale[:, None] * self.output_size
        cosine, sine = ops.cos(angle) * scale, ops.sin(angle) * scale
        matrix = (cosine * stretch * flip, -sine, sine * stretch * flip, cosine)
        centre = (size - 1.0) / 2.0
        shift_x = centre + offset[:, 0] - centre * (matrix[0] + matrix[1])
        shift_y = centre + offset[:, 1] - centre * (matrix[2] + matrix[3])
        zero = ops.zeros_like(scale)
        transform = ops.stack(
            [matrix[0], matrix[1], shift_x, matrix[2], matrix[3], shift_y, zero, zero], axis=1
        )
        return ops.image.affine_transform(
            images,
            transform,
            interpolation="bilinear",
            fill_mode="reflect",
            data_format="channels_last",
        )

    def _refocus(self, images: Any) -> Any:
        """Blur half of the images by up to 2.5 pixels and sharpen some of the others."""
        if not self.focus:
            return images
        choice = self._uniform(images, 0.0, 1.0)
        blurs = choice < 0.5
        width = ops.where(blurs, self._uniform(images, 0.3, 2.5) * self.focus + 1e-3, 1.0)
        sharpening = ops.where(choice > 0.85, self._uniform(images, 0.0, 1.0) * self.focus, 0.0)
        amount = ops.where(blurs, 1.0, -sharpening)
        return ops.clip(images + amount * (gaussian_blur(images, width) - images), 0.0, 1.0)

    def _recolour(self, images: Any) -> Any:
        """Gamma, hue and saturation, channel gains, contrast and an uneven lamp."""
        if not self.colour:
            return images
        strength = self.colour
        images = ops.power(images + 1e-3, ops.exp(self._normal(images, 0.18 * strength)))
        images = self._rotate_hue(images)
        gains = ops.exp(
            self._normal(images, 0.06 * strength, 3) + self._normal(images, 0.08 * strength)
        )
        contrast = ops.exp(self._normal(images, 0.10 * strength))
        middle = ops.mean(images, axis=(1, 2), keepdims=True)
        images = middle + (images - middle) * contrast
        return images * gains * self._illumination(images)

    def _retexture(self, images: Any) -> Any:
        """Mix some images with a random filter of themselves: shapes stay, fine texture changes.

        One filter for the whole batch, a 5x5 or 3x3 kernel over all channels, and an amount for
        each image. Source: Xu et al. 2021, RandConv, arXiv:2007.13003.
        """
        if not self.texture:
            return images
        kernel = keras.random.normal((5, 5, 3, 3), seed=self.generator)
        narrow = np.pad(np.ones((3, 3), "float32"), 1)[:, :, None, None]
        small = keras.random.uniform((), seed=self.generator) < 0.5
        kernel = kernel * ops.where(small, narrow, 1.0)
        kernel = kernel / ops.sqrt(ops.sum(ops.square(kernel), axis=(0, 1, 2), keepdims=True))
        middle = ops.mean(images, axis=(1, 2), keepdims=True)
        filtered = middle + 0.5 * ops.conv(
            images - middle, kernel, padding="same", data_format="channels_last"
        )
        chosen = self._uniform(images, 0.0, 1.0) < 0.4 * self.texture
        amount = ops.where(chosen, self._uniform(images, 0.0, 0.7), 0.0)
        return ops.clip(images + amount * (filtered - images), 0.0, 1.0)

    def _rotate_hue(self, images: Any) -> Any:
        """Turn and stretch the colour plane around the grey axis (YIQ), as one matrix per image."""
        angle = self._normal(images, 0.16 * self.colour)[:, 0]
        stretch = ops.exp(self._normal(images, 0.25 * self.colour))[:, 0]
        cosine, sine = ops.cos(angle) * stretch, ops.sin(angle) * stretch
        luma, first, second = TO_YIQ
        back = np.linalg.inv(TO_YIQ).astype("float32")
        turned = (
            luma[:, None] * back[None, :, 0]
            + (cosine * first[:, None] - sine * second[:, None]) * back[None, :, 1]
            + (sine * first[:, None] + cosine * second[:, None]) * back[None, :, 2]
        )
        return ops.clip(transform_colours(images, turned), 0.0, 1.0)

    def _illumination(self, images: Any) -> Any:
        """A plane of brightness, slightly different per channel."""
        ramp = np.linspace(-1.0, 1.0, self.output_size, dtype="float32")
        slope_x = self._normal(images, 0.08 * self.colour) + self._normal(images, 0.02, 3)
        slope_y = self._normal(images, 0.08 * self.colour) + self._normal(images, 0.02, 3)
        return 1.0 + slope_x * ramp[None, None, :, None] + slope_y * ramp[None, :, None, None]

    def _disturb(self, images: Any) -> Any:
        """Haze (a veil of one colour) and noise."""
        if not self.focus:
            return images
        amount = self._uniform(images, -0.35, 0.35) * min(self.focus, 1.0)
        veil = self._uniform(images, 0.7, 1.0, 3)
        images = images + ops.relu(amount) * (veil - images)
        level = ops.relu(self._uniform(images, -0.04, 0.04)) * self.focus
        noise = keras.random.normal(ops.shape(images), seed=self.generator)
        return images + level * noise

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_size, self.output_size, 3)

    def get_config(self) -> dict[str, Any]:
        names = (
            "output_size",
            "zoom",
            "shift",
            "stain",
            "colour",
            "focus",
            "bend",
            "texture",
            "plain",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def gaussian_blur(images: Any, width: Any) -> Any:
    """Blur each image (n, s, s, 3) with its own Gaussian of standard deviation (n, 1, 1, 1).

    Two matrix products per image, one along each side; at the border the weights are normalised
    over the pixels that exist.
    """
    size = images.shape[1]
    squares = np.square(np.subtract.outer(np.arange(size), np.arange(size))).astype("float32")
    weights = ops.exp(-squares[None] / (2.0 * ops.square(width[:, 0])))
    weights = weights / ops.sum(weights, axis=2, keepdims=True)
    for _ in range(2):
        columns = ops.matmul(weights, ops.reshape(images, (-1, size, size * 3)))
        images = ops.transpose(ops.reshape(columns, (-1, size, size, 3)), (0, 2, 1, 3))
    return images
