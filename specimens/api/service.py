"""What a client or a monitor asks about the service itself."""

from typing import Any

from django.http import Http404
from rest_framework import status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.models import ModelVersion
from specimens.api import schema
from specimens.api.base import ApiView
from specimens.api.errors import ApiError, accepted_images
from specimens.selectors.health import service_health


class HealthView(ApiView):
    """For monitors: needs no token and tells states only."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @schema.HEALTH
    def get(self, request: Request) -> Response:
        """Answer 200 only where a predict call would succeed, else 503; each part's state."""
        parts = service_health()
        well = all(part.ok for part in parts.values())
        body = {
            "status": _state(well),
            "parts": {
                name: {"status": _state(part.ok)}
                | ({"message": part.message} if part.message else {})
                | part.details
                for name, part in parts.items()
            },
        }
        code = status.HTTP_200_OK if well else status.HTTP_503_SERVICE_UNAVAILABLE
        response = Response(body, status=code, headers={"Cache-Control": "no-store"})
        # A monitor asks every few seconds: Django would log each 503 as an error of its own.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response


class ModelInfoView(ApiView):
    """The model that answers now."""

    # The default permission: any account. The public mode opens the predict calls only.
    @schema.MODEL_INFO
    def get(self, request: Request) -> Response:
        """Answer what the metadata of the active model version says."""
        version = ModelVersion.objects.filter(is_active=True).first()
        if version is None:
            text = "No model is active: no worker has started here yet. See /api/health."
            raise ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "no_model", text)
        return Response(_model_body(version))


class NothingHereView(ApiView):
    """Any other address below /api/."""

    authentication_classes = []
    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Answer 404 whatever the method."""
        raise Http404


def _state(well: bool) -> str:
    return "ok" if well else "unavailable"


def _model_body(version: ModelVersion) -> dict[str, Any]:
    metadata: dict[str, Any] = version.metadata
    ood = metadata.get("ood", {})
    return {
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "created": metadata.get("created"),
        "classes": metadata.get("classes", []),
        "input": metadata.get("input", {}),
        "preprocessing_version": metadata.get("preprocessing_version"),
        "parameters": metadata.get("network", {}).get("parameters"),
        "thresholds": {
            "temperature": metadata.get("temperature"),
            "confidence": metadata.get("abstain", {}).get("confidence_threshold"),
            "ood_score": ood.get("threshold"),
        },
        "metrics": metadata.get("metrics", {}),
        "data": metadata.get("data", []),
        "training": metadata.get("training", {}),
        "intended_use": metadata.get("intended_use", ""),
        "limitations": metadata.get("limitations", []),
        "accepted": accepted_images(),
    }
