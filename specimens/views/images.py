"""The pictures: the original, its thumbnail, and the explanation as a layer of its own."""

import io
from collections.abc import Sequence
from typing import Final

from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET

from specimens.models import CellImage, User
from specimens.selectors.cells import BROWSER_TYPES, newest_prediction
from specimens.views.access import cell_or_404, for_people

# A picture never changes under its address: it is kept for a day, by this browser only.
_KEEP: Final = "private, max-age=86400, immutable"
# The thumbnail may still be missing, so its address is asked again until it is there.
_ASK: Final = "private, no-cache"
# An image opened on its own must not run or load anything.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_LAYER_SIDE: Final = 256


@require_GET
@for_people
def cell_image(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The file exactly as it was received."""
    image = cell_or_404(user, pk)
    return _stored(
        request, image, str(image.file.name), image.media_type, tag="original", keep=_KEEP
    )


@require_GET
@for_people
def cell_thumbnail(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The small picture the worker wrote, until then the original where a browser can draw it."""
    image = cell_or_404(user, pk)
    if default_storage.exists(image.thumbnail_name):
        return _stored(
            request, image, image.thumbnail_name, "image/jpeg", tag="thumbnail", keep=_KEEP
        )
    if image.media_type not in BROWSER_TYPES:
        raise Http404("There is no picture of this file yet.")
    return _stored(
        request, image, str(image.file.name), image.media_type, tag="original", keep=_ASK
    )


@require_GET
@for_people
def cell_explanation(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The explanation map as a transparent layer over the central square of the picture."""
    image = cell_or_404(user, pk)
    prediction = newest_prediction(image)
    if prediction is None:
        raise Http404("This cell has not been classified.")
    tag = f'"explanation-{prediction.pk}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers={"ETag": tag, "Cache-Control": _ASK})
    layer = explanation_layer(bytes(prediction.explanation), prediction.shown)
    return _answer(layer, "image/png", tag, _ASK)


def explanation_layer(values: bytes, shown: Sequence[float]) -> bytes:
    """Draw 16 x 16 values (0..255) as a PNG, bilinear: lighter and more opaque where stronger.

    `shown` is the square the model saw (Prediction.shown); around it the layer is empty.
    """
    import numpy as np  # with Pillow 20 MB, for a picture few people ask for
    from PIL import Image

    left, top, side = (round(part * _LAYER_SIDE) for part in shown)
    grid = Image.frombytes("L", (16, 16), values).resize((side, side), Image.Resampling.BILINEAR)
    placed = Image.new("L", (_LAYER_SIDE, _LAYER_SIDE))
    placed.paste(grid, (left, top))
    smooth = np.asarray(placed)
    level = smooth.astype(np.float32) / 255
    layer = np.empty((*level.shape, 4), dtype=np.uint8)
    # From teal over green to yellow: no blood stain has these hues, and lightness rises with them.
    layer[..., 0] = np.rint(255 * np.clip(1.6 * level - 0.6, 0, 1))
    layer[..., 1] = np.rint(110 + 130 * level)
    layer[..., 2] = np.rint(140 * (1 - level) ** 0.7)
    layer[..., 3] = np.rint(255 * np.clip(1.3 * level - 0.1, 0, 1))
    out = io.BytesIO()
    Image.fromarray(layer, "RGBA").save(out, "PNG")
    return out.getvalue()


def _stored(
    request: HttpRequest, image: CellImage, name: str, media_type: str, *, tag: str, keep: str
) -> HttpResponse:
    etag = f'"{tag}-{image.sha256}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag, "Cache-Control": keep})
    try:
        with default_storage.open(name) as file:
            content = file.read()
    except FileNotFoundError as error:
        raise Http404("The picture is not in the image store.") from error
    response = _answer(content, media_type, etag, keep)
    if tag == "original":
        as_download = media_type not in BROWSER_TYPES
        disposition = content_disposition_header(as_download, image.filename)
        response["Content-Disposition"] = disposition or "inline"
    return response


def _answer(content: bytes, media_type: str, etag: str, keep: str) -> HttpResponse:
    headers = {
        "ETag": etag,
        "Cache-Control": keep,
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(content, content_type=media_type, headers=headers)
