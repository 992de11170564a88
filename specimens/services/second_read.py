"""Blinded second reads: another person classifies the case anew and sees nothing of the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from classifier.classes import CLASS_BY_KEY
from specimens.agreement import cohens_kappa, kappa_per_class
from specimens.models import SecondRead, SecondReadLabel, Specimen, User
from specimens.permissions import Action, require
from specimens.selectors.case import case_of
from specimens.services import audit
from specimens.services.errors import Conflict
from specimens.services.review import locked_case


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Cells of one class by each reader and by both; kappa of "this class or not"."""

    key: str
    first: int
    second: int
    both: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa of two readers over the same cells; None where it is not defined."""

    cells: int
    agreed: int
    kappa: float | None
    per_class: Mapping[str, float | None]
    table: tuple[ClassAgreement, ...]


@transaction.atomic
def start_second_read(*, actor: User, specimen: Specimen) -> SecondRead:
    """Open the actor's own read, or return the one that is open already."""
    require(actor, Action.REVIEW)
    case = locked_case(actor, specimen)
    if case.cell_images.filter(reviews__reviewer=actor).exists():
        raise Conflict("You classified cells of this case yourself; somebody else must read it.")
    read, created = SecondRead.objects.get_or_create(specimen=case, reader=actor)
    if created:
        audit.record(actor=actor, action="second_read.started", subject=read, specimen=case)
    return read


@transaction.atomic
def label_second_read(*, actor: User, read: SecondRead, labels: Mapping[int, str]) -> int:
    """Record class keys by image id (empty: take the label back).

    Returns how many cells of the case still have none.
    """
    read = _own_open_read(actor, read)
    cells = set(read.specimen.cell_images.values_list("pk", flat=True))
    if not labels.keys() <= cells or not set(labels.values()) <= CLASS_BY_KEY.keys() | {""}:
        raise ValidationError("Name cells of this case and known classes only.")
    read.labels.filter(
        cell_image__in=[cell for cell, label in labels.items() if not label]
    ).delete()
    SecondReadLabel.objects.bulk_create(
        [
            SecondReadLabel(second_read=read, cell_image_id=cell, label=label)
            for cell, label in labels.items()
            if label
        ],
        update_conflicts=True,
        unique_fields=["second_read", "cell_image"],
        update_fields=["label"],
    )
    return len(cells) - read.labels.count()


@transaction.atomic
def finish_second_read(*, actor: User, read: SecondRead) -> Agreement:
    """Close the read; from now on it can be compared with the first."""
    read = _own_open_read(actor, read)
    # Images that failed are nobody's to read: the case knows which cells there are.
    cells = {cell.pk for cell in case_of(read.specimen).cells}
    missing = len(cells - set(read.labels.values_list("cell_image_id", flat=True)))
    if missing:
        raise ValidationError(f"{missing} cells have no class yet.")
    read.finished_at = timezone.now()
    read.save(update_fields=["finished_at"])
    agreement = agreement_of(read)
    audit.record(
        actor=actor,
        action="second_read.finished",
        subject=read,
        specimen=read.specimen,
        details={"kappa": agreement.kappa},
    )
    return agreement


def agreement_of(read: SecondRead) -> Agreement:
    """Compare a finished read with the case as it stands."""
    if read.finished_at is None:
        raise Conflict("The second read is not finished; until then it is blinded.")
    first = {cell.pk: cell.counts_as for cell in case_of(read.specimen).cells}
    second = dict(read.labels.values_list("cell_image_id", "label"))
    pairs = [(first[cell], label) for cell, label in second.items() if cell in first]
    per_class = kappa_per_class(pairs)
    return Agreement(
        cells=len(pairs),
        agreed=sum(a == b for a, b in pairs),
        kappa=cohens_kappa(pairs),
        per_class=per_class,
        table=tuple(_class_agreement(key, pairs, per_class[key]) for key in per_class),
    )


def _class_agreement(
    key: str, pairs: Sequence[tuple[str, str]], kappa: float | None
) -> ClassAgreement:
    return ClassAgreement(
        key=key,
        first=sum(a == key for a, _ in pairs),
        second=sum(b == key for _, b in pairs),
        both=sum(a == b == key for a, b in pairs),
        kappa=kappa,
    )


def _own_open_read(actor: User, read: SecondRead) -> SecondRead:
    require(actor, Action.REVIEW)
    read = SecondRead.objects.select_for_update().get(pk=read.pk, reader=actor)
    if read.finished_at is not None:
        raise Conflict("This read is finished.")
    return read
