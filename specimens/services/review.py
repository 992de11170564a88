"""Reviewing: people label cells, take cases and comment. Nothing of it is ever overwritten."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from classifier.classes import CLASS_BY_KEY
from specimens import workflow
from specimens.models import CellImage, Comment, Review, Specimen, User
from specimens.permissions import Action, can, require, visible_to
from specimens.services import audit
from specimens.services.errors import Conflict, StaleReview
from specimens.services.review_queue import refresh_flags


@dataclass(frozen=True, slots=True)
class Decision:
    """One cell, the class key it gets (empty: take the label back), and the revision seen."""

    cell_image_id: int
    label: str
    seen_revision: int


def locked_case(actor: User, specimen: Specimen) -> Specimen:
    """Return the specimen, locked until the transaction ends, if `actor` may see it."""
    return (
        visible_to(actor, Specimen)
        .select_related("site", "order__patient")
        .select_for_update(of=("self",))
        .get(pk=specimen.pk)
    )


@transaction.atomic
def review_cells(
    *, actor: User, specimen: Specimen, decisions: Sequence[Decision]
) -> list[CellImage]:
    """Record the decisions, all or none, and return the cells as they are now.

    The first one opens the review. Raises StaleReview where somebody else was faster on any of the
    cells, ValidationError for unknown cells or classes, NotAllowedInState, PermissionDenied.
    """
    require(actor, Action.REVIEW)
    case = locked_case(actor, specimen)
    _refuse_the_blinded(actor, case)
    state = workflow.after(workflow.Act.REVIEW, case.state)
    by_id = {decision.cell_image_id: decision for decision in decisions}
    images = list(
        CellImage.objects.filter(specimen=case, pk__in=by_id).select_related("labelled_by")
    )
    _check(by_id, decisions, images)
    changes, reviews = [], []
    for image in images:
        decision = by_id[image.pk]
        changes.append({"cell": image.pk, "from": image.label, "to": decision.label})
        image.label, image.revision = decision.label, image.revision + 1
        image.labelled_by = actor if decision.label else None
        reviews.append(
            Review(cell_image=image, reviewer=actor, label=decision.label, revision=image.revision)
        )
    Review.objects.bulk_create(reviews)
    CellImage.objects.bulk_update(images, ["label", "revision", "labelled_by"])
    if case.state != state:
        case.state = state
        case.assigned_to = case.assigned_to or actor
        case.save(update_fields=["state", "assigned_to"])
    refresh_flags(specimen=case)
    audit.record(
        actor=actor,
        action="cells.reviewed",
        subject=case,
        specimen=case,
        details={"changes": changes},
    )
    return images


def _refuse_the_blinded(actor: User, case: Specimen) -> None:
    """Keep a second reader out of the first read until their own is finished."""
    if case.second_reads.filter(reader=actor, finished_at__isnull=True).exists():
        raise Conflict("Your blinded second read of this case is open: finish it first.")


def _check(
    by_id: dict[int, Decision], decisions: Sequence[Decision], images: Sequence[CellImage]
) -> None:
    unknown = sorted(by_id.keys() - {image.pk for image in images})
    if unknown or not decisions or len(by_id) != len(decisions):
        raise ValidationError(
            "Name each cell of this case once."
            + (f" Not of this case: {', '.join(map(str, unknown))}." if unknown else "")
        )
    labels = {decision.label for decision in decisions} - {""}
    if not labels <= CLASS_BY_KEY.keys():
        raise ValidationError(
            f"Unknown class {', '.join(sorted(labels - CLASS_BY_KEY.keys()))}. "
            f"Known: {', '.join(CLASS_BY_KEY)}."
        )
    stale = {
        image.pk: {
            "label": image.label,
            "revision": image.revision,
            "reviewer": image.labelled_by.display_name if image.labelled_by else "",
        }
        for image in images
        if image.revision != by_id[image.pk].seen_revision
    }
    if stale:
        raise StaleReview(stale)


@transaction.atomic
def assign_case(*, actor: User, specimen: Specimen, to: User | None) -> Specimen:
    """Take a case (`to` is the actor), hand it to somebody of the same site, or release it."""
    require(actor, Action.REVIEW)
    case = locked_case(actor, specimen)
    if to is not None and not (
        can(to, Action.REVIEW) and to.sites.filter(pk=case.site_id).exists()
    ):
        raise ValidationError(f"{to.display_name} cannot review at {case.site}.")
    before = case.assigned_to
    case.assigned_to = to
    case.save(update_fields=["assigned_to"])
    audit.record(
        actor=actor,
        action="case.assigned",
        subject=case,
        specimen=case,
        details={"from": before and before.username, "to": to and to.username},
    )
    return case


@transaction.atomic
def add_comment(
    *,
    actor: User,
    specimen: Specimen,
    text: str,
    cell_image: CellImage | None = None,
    on_report: bool = False,
) -> Comment:
    """Add a remark to the case, or to one of its cells. Comments are not edited."""
    require(actor, Action.REVIEW)
    case = visible_to(actor, Specimen).get(pk=specimen.pk)
    if cell_image is not None and cell_image.specimen_id != case.pk:
        raise ValidationError("The cell is not of this case.")
    comment = Comment(
        specimen=case, cell_image=cell_image, author=actor, text=text.strip(), on_report=on_report
    )
    comment.full_clean()
    comment.save()
    audit.record(
        actor=actor,
        action="case.commented",
        subject=comment,
        specimen=case,
        details={"cell": cell_image and cell_image.pk, "on_report": on_report},
    )
    return comment
