"""Predictions: what a model version says of a cell. Written once, never changed."""

from collections.abc import Sequence
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.classes import CELL_CLASSES, UNIDENTIFIED
from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, checked_query, found, person
from specimens.api.v1.fields import moment
from specimens.api.v1.paging import PageQuery, page
from specimens.models import Prediction
from specimens.permissions import Action, require
from specimens.selectors import api as reads

_DECISIONS: Final = (*CELL_CLASSES, UNIDENTIFIED.name)


class ModelShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.CharField()
    digest = serializers.CharField()


class PredictionShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    cell = serializers.IntegerField()
    model = ModelShape()
    predicted_class = serializers.ChoiceField(choices=CELL_CLASSES)
    decision = serializers.ChoiceField(choices=_DECISIONS, help_text="Rely on this one.")
    reasons = serializers.ListField(
        child=serializers.CharField(), help_text="Why the model abstains."
    )
    confidence = serializers.FloatField()
    probabilities = serializers.DictField(child=serializers.FloatField())
    ood_score = serializers.FloatField(help_text="Above 1 it is unlike the training data.")
    engine = serializers.CharField()
    milliseconds = serializers.FloatField()
    created_at = serializers.DateTimeField()


class PredictionQuery(PageQuery):
    specimen = serializers.IntegerField(required=False)
    cell = serializers.IntegerField(required=False)
    decision = serializers.ChoiceField(choices=_DECISIONS, required=False)
    created_after = serializers.DateTimeField(required=False)


EXAMPLE: Final[dict[str, Any]] = {
    "id": 8123,
    "cell": 4711,
    "model": {"name": "dmfnet", "version": "2.1.0", "digest": "513b" * 16},
    "predicted_class": "Neutrophil",
    "decision": "Neutrophil",
    "reasons": [],
    "confidence": 0.994886,
    "probabilities": {
        "Basophil": 0.001439,
        "Eosinophil": 0.001148,
        "Lymphocyte": 0.001206,
        "Monocyte": 0.001322,
        "Neutrophil": 0.994886,
    },
    "ood_score": 0.348,
    "engine": "onnxruntime",
    "milliseconds": 3.4,
    "created_at": "2026-11-23T08:31:01Z",
}


class PredictionsView(ResourceView):
    """All predictions of cells of the own sites."""

    @extend_schema(
        operation_id="predictions",
        summary="List predictions",
        tags=["Predictions"],
        parameters=[PredictionQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(PredictionShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of predictions, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        query = checked_query(PredictionQuery, request)
        rows = reads.filtered(reads.predictions(user), query, reads.PREDICTION_FILTERS)
        return page(request, rows, query, prediction_bodies)


class PredictionView(ResourceView):
    """One prediction."""

    @extend_schema(
        operation_id="read_prediction",
        summary="Read a prediction",
        tags=["Predictions"],
        parameters=documents.ONE,
        responses=documents.read_one(PredictionShape, EXAMPLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the prediction."""
        user = person(request)
        require(user, Action.EXCHANGE)
        return Response(prediction_body(found(reads.predictions(user), pk)))


def prediction_bodies(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return predictions as JSON."""
    return [prediction_body(one) for one in predictions]


def prediction_body(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON; read it with its model version."""
    version = prediction.model_version
    return {
        "id": prediction.pk,
        "cell": prediction.cell_image_id,
        "model": {"name": version.name, "version": version.version, "digest": version.digest},
        "predicted_class": prediction.predicted_class,
        "decision": prediction.decision,
        "reasons": prediction.reasons,
        "confidence": prediction.confidence,
        "probabilities": dict(zip(CELL_CLASSES, prediction.probabilities, strict=True)),
        "ood_score": prediction.ood_score,
        "engine": prediction.engine,
        "milliseconds": prediction.milliseconds,
        "created_at": moment(prediction.created_at),
    }
