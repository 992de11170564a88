"""Labelling cells by REST: the same parsing and the same service as the review page."""

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.http import Http404
from django.urls import URLPattern, path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.classes import CLASS_BY_KEY
from specimens.api import examples
from specimens.api.base import ApiView
from specimens.api.errors import ApiError
from specimens.api.schema import answer, error
from specimens.api.serializers import Error
from specimens.models import Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.services.decisions import parse_decisions
from specimens.services.errors import Conflict, StaleReview
from specimens.services.review import review_cells
from specimens.workflow import NotAllowedInState


class DecisionForm(serializers.Serializer[Any]):
    cell = serializers.IntegerField(help_text="Number of a cell image of the case.")
    label = serializers.ChoiceField(  # type: ignore[assignment] # Field's own attribute label
        choices=list(CLASS_BY_KEY), allow_blank=True, help_text="Empty: take the label back."
    )
    revision = serializers.IntegerField(help_text="Of the cell when it was looked at; 0 at first.")


class ReviewsForm(serializers.Serializer[Any]):
    decisions = DecisionForm(many=True)


class LabelledCell(serializers.Serializer[Any]):
    cell = serializers.IntegerField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment] # as above
    revision = serializers.IntegerField()
    reviewer = serializers.CharField(allow_blank=True, help_text="Empty: taken back.")


class ReviewsAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    cells = LabelledCell(many=True)


class StaleError(Error):
    cells = LabelledCell(many=True, required=False, help_text="As they stand now.")


_REFUSED: Final[dict[int, Any]] = {
    400: error("The decisions cannot be read, or name unknown cells or classes.", "invalid"),
    401: error("No token, or a wrong one.", "not_authenticated"),
    403: error("The role does not permit it.", "not_allowed"),
    404: error("No such specimen at your sites.", "not_found"),
    409: answer(
        StaleError,
        "Somebody was faster, or the case is in no state for it.",
        stale=examples.STALE,
        conflict=examples.error("conflict"),
    ),
}


class ReviewsView(ApiView):
    """Decisions of a person about the cells of one case."""

    parser_classes = [JSONParser]

    @extend_schema(
        operation_id="review_cells",
        summary="Label cells of a case",
        description="All decisions are stored, or none.",
        tags=["Reviewing"],
        request=ReviewsForm,
        responses={
            200: answer(ReviewsAnswer, "As they are now.", reviewed=examples.REVIEWED),
            **_REFUSED,
        },
    )
    def post(self, request: Request, pk: int) -> Response:
        """Store the decisions; every guard is the service's."""
        user = request.user
        assert isinstance(user, User)  # noqa: S101 - the permission class saw to it
        require(user, Action.REVIEW)
        specimen = visible_to(user, Specimen).filter(pk=pk).first()
        if specimen is None:
            raise Http404
        try:
            decisions = parse_decisions(request.data)
            images = review_cells(actor=user, specimen=specimen, decisions=decisions)
        except StaleReview as refusal:
            cells = [{"cell": pk, **state} for pk, state in refusal.current.items()]
            text = str(refusal)
            raise ApiError(status.HTTP_409_CONFLICT, "stale", text, cells=cells) from refusal
        except ValidationError as refusal:
            text = " ".join(refusal.messages)
            raise ApiError(status.HTTP_400_BAD_REQUEST, "invalid", text) from refusal
        except (Conflict, NotAllowedInState) as refusal:
            raise ApiError(status.HTTP_409_CONFLICT, "conflict", str(refusal)) from refusal
        cells = [
            {
                "cell": image.pk,
                "label": image.label,
                "revision": image.revision,
                "reviewer": image.labelled_by.display_name if image.labelled_by else "",
            }
            for image in images
        ]
        return Response({"success": True, "cells": cells})


urlpatterns: list[URLPattern] = [
    path("specimens/<int:pk>/reviews", ReviewsView.as_view(), name="api_reviews"),
]
