"""Input tensors of the Open Inference Protocol: out of JSON, into image files as any other."""

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from classifier.imaging.refusal import MAX_BYTES, MAX_SIDE, MIN_SIDE

if TYPE_CHECKING:
    import numpy as np

INPUT: Final = "image"
_CHANNELS: Final = 3


class UnusableTensor(Exception):
    """The inputs of a request are not what the model takes; the text says what is."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of the request, as a file."""

    name: str
    content: bytes


def image_files(inputs: object, most: int) -> list[ImageFile]:
    """Return the images of the request's `inputs`, 1 to `most` of them.

    BYTES tensors, [n] or [n, 1], hold encoded images in base64; UINT8 tensors, [n, h, w, 3], hold
    pixels, flat or nested. Raises UnusableTensor.
    """
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], Mapping):
        raise UnusableTensor(f'Send "inputs": a list of one tensor, named "{INPUT}".')
    tensor = inputs[0]
    if tensor.get("name") != INPUT:
        raise UnusableTensor(f'The input tensor is named "{INPUT}".')
    shape, data = _shape(tensor.get("shape"), most), tensor.get("data")
    if not isinstance(data, list):
        raise UnusableTensor('"data" must be a JSON array; binary tensor data is not supported.')
    if tensor.get("datatype") == "BYTES":
        return _encoded(shape, data)
    if tensor.get("datatype") == "UINT8":
        return _pixels(shape, data)
    raise UnusableTensor('"datatype" must be BYTES (encoded images) or UINT8 (pixels).')


def _shape(value: object, most: int) -> list[int]:
    if not isinstance(value, list) or not value or not all(type(one) is int for one in value):
        raise UnusableTensor('"shape" must be a list of whole numbers.')
    if not 1 <= value[0] <= most:
        raise UnusableTensor(f"One request takes 1 to {most} images, not {value[0]}.")
    return value


def _encoded(shape: list[int], data: list[Any]) -> list[ImageFile]:
    if shape not in ([shape[0]], [shape[0], 1]):
        raise UnusableTensor("A BYTES tensor has the shape [n] or [n, 1]: one image an element.")
    flat = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]
    if len(flat) != shape[0]:
        raise UnusableTensor(f"The shape names {shape[0]} images, the data {len(flat)}.")
    return [ImageFile(f"{INPUT}-{at}", _decoded(at, text)) for at, text in enumerate(flat)]


def _decoded(at: int, text: object) -> bytes:
    if not isinstance(text, str):
        raise UnusableTensor(f"Element {at} is no text: send each image in base64.")
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise UnusableTensor(f"Element {at} is larger than {MAX_BYTES // 2**20} MB.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableTensor(f"Element {at} is not base64: {error}.") from error


def _pixels(shape: list[int], data: list[Any]) -> list[ImageFile]:
    if len(shape) != 4 or shape[3] != _CHANNELS:
        raise UnusableTensor("A UINT8 tensor has the shape [n, height, width, 3], in RGB.")
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in shape[1:3]):
        raise UnusableTensor(f"Height and width must be {MIN_SIDE} to {MAX_SIDE} pixels.")
    import numpy as np  # with Pillow 20 MB and a tenth of a second, where pixels come in JSON

    try:
        values = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise UnusableTensor("The data of a UINT8 tensor must be even: numbers only.") from error
    if values.dtype.kind not in "iu" or values.shape not in ((prod(shape),), tuple(shape)):
        raise UnusableTensor(
            f"The data must hold {prod(shape)} whole numbers, flat or nested as the shape says."
        )
    if values.min() < 0 or values.max() > 255:
        raise UnusableTensor("UINT8 values are 0 to 255.")
    images = values.astype(np.uint8).reshape(shape)
    return [ImageFile(f"{INPUT}-{at}.png", _png(image)) for at, image in enumerate(images)]


def _png(image: "np.ndarray[Any, Any]") -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image, "RGB").save(out, "PNG", compress_level=1)
    return out.getvalue()
