"""The addresses below /api/. Clients post with and without a slash at the end; both are taken."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerView
from rest_framework.views import APIView

from specimens.api.document import DocumentView
from specimens.api.predict import PredictBatchView, PredictionView, PredictView
from specimens.api.service import HealthView, ModelInfoView, NothingHereView


def _both(route: str, view: type[APIView], **initkwargs: Any) -> list[URLPattern]:
    """Return the address as documented, named, and its twin with or without the slash."""
    twin = route.removesuffix("/") if route.endswith("/") else f"{route}/"
    name = "api_" + route.partition("<")[0].strip("/").replace("predictions", "prediction")
    # schema=None keeps the twin out of the OpenAPI schema.
    return [
        path(route, view.as_view(**initkwargs), name=name),
        path(twin, view.as_view(**initkwargs, schema=None)),
    ]


urlpatterns: list[URLPattern | URLResolver] = [
    *_both("predict", PredictView),
    *_both("predict_batch", PredictBatchView),
    *_both("predictions/<str:identifier>", PredictionView),
    *_both("health", HealthView),
    *_both("model_info", ModelInfoView),
    path("v1/", include("specimens.api.v1.urls")),
    # Open to all: they say how to call, and nothing of a patient.
    *_both("schema/", DocumentView, authentication_classes=[]),
    path(
        "docs/",
        SpectacularSwaggerView.as_view(url_name="api_schema", authentication_classes=[]),
        name="api_docs",
    ),
    # One address only: the content security policy makes its exception by it.
    path("docs", login_not_required(RedirectView.as_view(pattern_name="api_docs"))),
    re_path(r"", NothingHereView.as_view(schema=None)),
]
