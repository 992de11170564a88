"""Reviews: what people say of cells. The same parsing and the same service as the review page."""

from collections.abc import Sequence
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.classes import CLASS_BY_KEY
from specimens.api.schema import answer
from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, checked_query, found, person
from specimens.api.v1.documents import LabelledCell
from specimens.api.v1.fields import moment
from specimens.api.v1.paging import PageQuery, page
from specimens.api.v1.repeats import repeatable
from specimens.models import Review
from specimens.permissions import Action, require
from specimens.selectors import api as reads
from specimens.services.decisions import MOST, parse_decisions
from specimens.services.review import review_cells


class DecisionForm(serializers.Serializer[Any]):
    cell = serializers.IntegerField(
        min_value=0, max_value=2**63 - 1, help_text="Number of a cell image of the case."
    )
    label = serializers.ChoiceField(  # type: ignore[assignment] # Field's own attribute label
        choices=list(CLASS_BY_KEY), allow_blank=True, help_text="Empty: take the label back."
    )
    revision = serializers.IntegerField(
        min_value=0,
        max_value=2**63 - 1,
        help_text="Of the cell when it was looked at; 0 at first.",
    )


class ReviewsForm(serializers.Serializer[Any]):
    decisions = serializers.ListField(child=DecisionForm(), min_length=1, max_length=MOST)


class ReviewsAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    cells = LabelledCell(many=True)


class ReviewShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    cell = serializers.IntegerField()
    specimen = serializers.IntegerField()
    reviewer = serializers.CharField(help_text="Account.")
    label = serializers.CharField(help_text="Class key; empty: taken back.")  # type: ignore[assignment]
    revision = serializers.IntegerField(help_text="Counts the reviews of the cell from 1.")
    created_at = serializers.DateTimeField()


class ReviewQuery(PageQuery):
    specimen = serializers.IntegerField(required=False)
    cell = serializers.IntegerField(required=False)
    label = serializers.ChoiceField(choices=list(CLASS_BY_KEY), required=False)  # type: ignore[assignment]
    reviewer = serializers.CharField(required=False, help_text="Account.")
    created_after = serializers.DateTimeField(required=False)


class SpecimenReviewQuery(PageQuery):
    label = serializers.ChoiceField(choices=list(CLASS_BY_KEY), required=False)  # type: ignore[assignment]


EXAMPLE: Final[dict[str, Any]] = {
    "id": 902,
    "cell": 4711,
    "specimen": 57,
    "reviewer": "technician",
    "label": "monocyte",
    "revision": 1,
    "created_at": "2026-11-23T08:40:00Z",
}
REVIEWED: Final[dict[str, Any]] = {
    "success": True,
    "cells": [{"cell": 4711, "label": "monocyte", "revision": 1, "reviewer": "Tess Nichols"}],
}


class ReviewsView(ResourceView):
    """All reviews of the own sites."""

    @extend_schema(
        operation_id="reviews",
        summary="List reviews",
        tags=["Reviews"],
        parameters=[ReviewQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(ReviewShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of reviews, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        query = checked_query(ReviewQuery, request)
        rows = reads.filtered(reads.reviews(user), query, reads.REVIEW_FILTERS)
        return page(request, rows, query, review_bodies)


class ReviewView(ResourceView):
    """One review."""

    @extend_schema(
        operation_id="review",
        summary="Read a review",
        tags=["Reviews"],
        parameters=documents.ONE,
        responses=documents.read_one(ReviewShape, EXAMPLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the review."""
        user = person(request)
        require(user, Action.EXCHANGE)
        return Response(review_bodies([found(reads.reviews(user), pk)])[0])


class SpecimenReviewsView(ResourceView):
    """Decisions of people about the cells of one case."""

    @extend_schema(
        operation_id="specimen_reviews",
        summary="List the reviews of a case",
        tags=["Reviews"],
        parameters=[SpecimenReviewQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(ReviewShape), EXAMPLE, "not_found"),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer a page of the reviews of its cells, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        specimen = found(reads.specimens(user), pk)
        query = checked_query(SpecimenReviewQuery, request)
        rows = reads.reviews(user).filter(cell_image__specimen=specimen)
        return page(
            request, reads.filtered(rows, query, reads.REVIEW_FILTERS), query, review_bodies
        )

    @extend_schema(
        operation_id="review_cells",
        summary="Label cells of a case",
        description=(
            "All decisions are stored, or none. `revision` stands for If-Match here: of each cell."
        ),
        tags=["Reviews"],
        parameters=[documents.IDEMPOTENCY_KEY, documents.RETRY_AFTER],
        request=ReviewsForm,
        responses={
            200: answer(ReviewsAnswer, "As they are now.", reviewed=REVIEWED),
            **documents.problems(*documents.CREATING, "stale_cells", "not_in_this_state"),
        },
    )
    @repeatable
    def post(self, request: Request, pk: int) -> Response:
        """Store the decisions; every guard is the service's."""
        user = person(request)
        require(user, Action.REVIEW)
        specimen = found(reads.specimens(user), pk)
        decisions = parse_decisions(request.data)
        images = review_cells(actor=user, specimen=specimen, decisions=decisions)
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


def review_bodies(reviews: Sequence[Review]) -> list[dict[str, Any]]:
    """Return reviews as JSON; read them by selectors.api.reviews."""
    return [
        {
            "id": one.pk,
            "cell": one.cell_image_id,
            "specimen": one.cell_image.specimen_id,
            "reviewer": one.reviewer.username,
            "label": one.label,
            "revision": one.revision,
            "created_at": moment(one.created_at),
        }
        for one in reviews
    ]
