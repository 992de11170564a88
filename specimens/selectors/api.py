"""What the lists of REST v1 read: rows of the sites of who asks, filtered, with what they show."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from django.db.models import Count, Exists, Model, OuterRef, Prefetch, Q, QuerySet

from specimens.models import (
    CellImage,
    Delivery,
    Job,
    Order,
    Prediction,
    Report,
    Review,
    SecondRead,
    Specimen,
    User,
)
from specimens.permissions import visible_to

M = TypeVar("M", bound=Model)

_OPEN_JOBS: Final = (Job.State.QUEUED, Job.State.RUNNING)

# Query parameter: what it looks at.
ORDER_FILTERS: Final = {
    "site": "site__code",
    "patient": "patient__identifier",
    "placer_number": "placer_number",
    "priority": "priority",
    "ordered_after": "ordered_at__gte",
    "ordered_before": "ordered_at__lt",
}
SPECIMEN_FILTERS: Final = {
    "site": "site__code",
    "state": "state",
    "accession_number": "accession_number",
    "order": "order",
    "patient": "order__patient__identifier",
    "priority": "order__priority",
    "received_after": "received_at__gte",
    "received_before": "received_at__lt",
}
CELL_FILTERS: Final = {
    "specimen": "specimen",
    "label": "label",
    "sha256": "sha256",
    "created_after": "created_at__gte",
}
PREDICTION_FILTERS: Final = {
    "specimen": "cell_image__specimen",
    "cell": "cell_image",
    "decision": "decision",
    "created_after": "created_at__gte",
}
REVIEW_FILTERS: Final = {
    "specimen": "cell_image__specimen",
    "cell": "cell_image",
    "label": "label",
    "reviewer": "reviewer__username",
    "created_after": "created_at__gte",
}
REPORT_FILTERS: Final = {
    "specimen": "specimen",
    "accession_number": "specimen__accession_number",
    "site": "specimen__site__code",
    "signed_after": "signed_at__gte",
    "signed_before": "signed_at__lt",
}
DELIVERY_FILTERS: Final = {
    "specimen": "specimen",
    "report": "report",
    "destination": "destination__name",
    "state": "state",
    "event": "event",
    "created_after": "created_at__gte",
}


def filtered(rows: "QuerySet[M]", query: Mapping[str, Any], by: Mapping[str, str]) -> "QuerySet[M]":
    """Return the rows that fit every filter of `query`; other parameters are left alone."""
    return rows.filter(**{by[name]: value for name, value in query.items() if name in by})


def orders(user: User) -> "QuerySet[Order]":
    specimens = Specimen.objects.order_by("pk").only("pk", "order")
    rows = visible_to(user, Order).select_related("site", "patient")
    return rows.prefetch_related(Prefetch("specimens", queryset=specimens))


def expected_only(rows: "QuerySet[Order]", expected: bool | None) -> "QuerySet[Order]":
    """Return orders whose tube is still to come, or the others; None: all."""
    return rows if expected is None else rows.filter(expected_since__isnull=not expected)


def specimens(user: User) -> "QuerySet[Specimen]":
    rows = visible_to(user, Specimen).select_related("site", "order__patient", "assigned_to")
    return rows.prefetch_related(
        Prefetch(
            "reports", queryset=Report.objects.order_by("version").only("pk", "specimen", "version")
        )
    )


def image_counts(specimens: Iterable[Specimen]) -> dict[int, dict[str, int]]:
    """Return how many images each specimen has, how many are reviewed, wait, and have failed."""
    images = CellImage.objects.filter(specimen__in=[one.pk for one in specimens])
    open_job = Job.objects.filter(cell_image=OuterRef("pk"), state__in=_OPEN_JOBS)
    classified = Prediction.objects.filter(cell_image=OuterRef("pk"))
    counted: Iterable[Any] = (
        images.annotate(waits=Exists(open_job), classified=Exists(classified))
        .values("specimen")
        .order_by("specimen")
        .annotate(
            total=Count("pk"),
            reviewed=Count("pk", filter=~Q(label="")),
            waiting=Count("pk", filter=Q(waits=True)),
            failed=Count("pk", filter=Q(waits=False, classified=False)),
        )
    )
    names = ("total", "reviewed", "waiting", "failed")
    return {row["specimen"]: {name: row[name] for name in names} for row in counted}


def cells(user: User) -> "QuerySet[CellImage]":
    """Cell images of specimens; what came by the predict calls alone has its own address."""
    predictions = Prediction.objects.select_related("model_version").order_by("-pk")
    jobs = Job.objects.order_by("-pk")
    return (
        visible_to(user, CellImage)
        .filter(specimen__isnull=False)
        .select_related("specimen", "site", "labelled_by")
        .prefetch_related(
            Prefetch("predictions", queryset=predictions.defer("embedding", "explanation")),
            Prefetch("jobs", queryset=jobs),
        )
    )


def blinded_specimens(user: User) -> set[int]:
    """Ids of the cases whose first read `user` may not see until an own second read is finished."""
    reads = SecondRead.objects.filter(reader=user, finished_at__isnull=True)
    return set(reads.values_list("specimen", flat=True))


def predictions(user: User) -> "QuerySet[Prediction]":
    rows = visible_to(user, Prediction).select_related("model_version", "cell_image")
    return rows.defer("embedding", "explanation")


def reviews(user: User) -> "QuerySet[Review]":
    rows = visible_to(user, Review).select_related("cell_image", "reviewer")
    return rows.exclude(cell_image__specimen__in=blinded_specimens(user))


def reports(user: User) -> "QuerySet[Report]":
    newest = Report.objects.filter(specimen=OuterRef("specimen"), version__gt=OuterRef("version"))
    rows = visible_to(user, Report).select_related("specimen__site", "signed_by")
    return rows.annotate(superseded=Exists(newest))


def deliveries(user: User) -> "QuerySet[Delivery]":
    rows = visible_to(user, Delivery).select_related("destination", "specimen__site")
    return rows.defer("payload", "content")
