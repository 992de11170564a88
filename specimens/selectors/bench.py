"""The cells of a case as the review page shows them: pictures, machine, people, remarks."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import Count, Max, Q

from specimens.models import CellImage, Comment, Job, Prediction, Review, Specimen, User


class Known(NamedTuple):
    """The newest review and comment a page has seen: what lies behind is not sent again."""

    review: int = 0
    comment: int = 0

    def __str__(self) -> str:
        return f"{self.review}.{self.comment}"


@dataclass(frozen=True, slots=True)
class BenchCell:
    """One cell with its newest prediction, all its reviews, and its comments, oldest first."""

    image: CellImage
    prediction: Prediction | None
    reviews: list[Review] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bench:
    """Cells of a case (all, or those that changed), its own comments, and how it stands.

    Attributes:
        stock: changes when images or predictions come in; what a page then has is incomplete.
        unfinished, failed: images without a class: still queued, or given up.
    """

    cells: list[BenchCell]
    comments: list[Comment]
    known: Known
    stock: str
    unfinished: int
    failed: int


def known_from(text: str) -> Known | None:
    """Read what `str(Known)` wrote; None where it is something else."""
    parts = text.split(".")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 19 for part in parts):
        return None
    return Known(int(parts[0]), int(parts[1]))


def newest_known(specimen: Specimen) -> Known:
    """Return the newest review and comment of the case.

    Reviews of one case are written under its lock, so their numbers rise in the order in which they
    become visible.
    """
    review = Review.objects.filter(cell_image__specimen=specimen).aggregate(n=Max("pk"))["n"]
    comment = Comment.objects.filter(specimen=specimen).aggregate(n=Max("pk"))["n"]
    return Known(review or 0, comment or 0)


def changed_cells(specimen: Specimen, since: Known) -> set[int]:
    """Return the cells reviewed or commented on after `since`."""
    reviewed = Review.objects.filter(cell_image__specimen=specimen, pk__gt=since.review)
    remarked = Comment.objects.filter(
        specimen=specimen, pk__gt=since.comment, cell_image__isnull=False
    )
    return {
        *reviewed.values_list("cell_image_id", flat=True),
        *remarked.values_list("cell_image_id", flat=True),
    }


def bench_of(specimen: Specimen, only: Collection[int] | None = None) -> Bench:
    """Read the case in a fixed number of queries; `only` narrows the cells to these ids."""
    known = newest_known(specimen)  # first: what comes in meanwhile is sent again, never missed
    chosen = Q(specimen=specimen) if only is None else Q(specimen=specimen, pk__in=only)
    images = list(CellImage.objects.filter(chosen).order_by("pk"))
    pks = {image.pk for image in images}
    predictions = _predictions(specimen, pks, only)
    reviews, comments = _reviews(specimen, pks, only), _comments(specimen)
    counted = CellImage.objects.filter(specimen=specimen).aggregate(
        images=Count("pk", distinct=True), predictions=Count("predictions")
    )
    unfinished = Job.objects.filter(
        cell_image__specimen=specimen, state__in=[Job.State.QUEUED, Job.State.RUNNING]
    ).count()
    cells = [
        BenchCell(image, predictions.get(image.pk), reviews[image.pk], comments[image.pk])
        for image in images
        if image.pk in predictions or image.label
    ]
    without = len(images) - len(cells) if only is None else 0
    return Bench(
        cells=cells,
        comments=comments[None],
        known=known,
        stock=f"{counted['images']}.{counted['predictions']}",
        unfinished=unfinished,
        failed=max(0, without - unfinished),
    )


def _predictions(
    specimen: Specimen, pks: set[int], only: Collection[int] | None
) -> dict[int, Prediction]:
    rows = Prediction.objects.filter(cell_image__specimen=specimen)
    if only is not None:
        rows = rows.filter(cell_image__in=pks)
    # The two arrays are nine tenths of a row, and nothing here shows them.
    rows = rows.select_related("model_version").defer("embedding", "explanation").order_by("pk")
    return {row.cell_image_id: row for row in rows}


def _reviews(
    specimen: Specimen, pks: set[int], only: Collection[int] | None
) -> dict[int, list[Review]]:
    rows = Review.objects.filter(cell_image__specimen=specimen)
    if only is not None:
        rows = rows.filter(cell_image__in=pks)
    found: dict[int, list[Review]] = defaultdict(list)
    for review in rows.select_related("reviewer").order_by("pk"):
        found[review.cell_image_id].append(review)
    return found


def _comments(specimen: Specimen) -> dict[int | None, list[Comment]]:
    """Return the comments by cell, those of the case itself under None."""
    found: dict[int | None, list[Comment]] = defaultdict(list)
    for comment in specimen.comments.select_related("author"):
        found[comment.cell_image_id].append(comment)
    return found


def initials(person: User) -> str:
    """Return two or three letters for a person: PT for Paula Thorne, else of the user name."""
    name = person.get_full_name()
    if name:
        return "".join(part[0] for part in name.split())[:3].upper()
    return person.get_username()[:2].upper()
