"""The OpenAPI document at /api/schema/."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request


@cache
def _written(renderer: Any) -> bytes | str:
    """Write the document, which costs a second: the same for everybody, so once in a process."""
    generator: Any = SchemaGenerator
    document = generator().get_schema(public=True)
    text: bytes | str = renderer().render(document, renderer_context={})
    return text


class DocumentView(SpectacularAPIView):
    """The document in YAML or, with `?format=json`, in JSON."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *_args: Any, **_kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        name = f'inline; filename="wbclab.{renderer.format}"'
        headers = {"Content-Disposition": name, "Vary": "Accept"}
        kind: Any = type(renderer)
        content = _written(kind)
        return HttpResponse(content, content_type=request.accepted_media_type, headers=headers)
