"""What people, and later accessions, make of instances that wait: assigned, or discarded."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from specimens import workflow
from specimens.dicom.matching import Decision, contradictions
from specimens.models import DicomFrame, DicomInstance, Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.dicom import attributes_of, candidate_of, decision_for, waiting_for
from specimens.services import audit
from specimens.services.dicom_import_cells import add_frames
from specimens.services.errors import Conflict

State = DicomInstance.State


class IdentifiersDisagree(Conflict):
    """What the data set says speaks against the specimen; nothing was changed."""


@transaction.atomic
def assign_instance(
    *, actor: User, instance: DicomInstance, specimen: Specimen, confirmed: bool = False
) -> DicomInstance:
    """Make the frames of a waiting or discarded instance cell images of `specimen`.

    Raises IdentifiersDisagree unless `confirmed`, Conflict (somebody was faster),
    NotAllowedInState, PermissionDenied.
    """
    require(actor, Action.ADD_IMAGES)
    instance = _locked(actor, instance)
    if instance.state == State.MATCHED:
        raise Conflict("It was assigned to a specimen meanwhile. Look at the list again.")
    specimens = visible_to(actor, Specimen).filter(site_id=instance.site_id)
    locked = specimens.select_related("order__patient").select_for_update(of=("self",))
    specimen = locked.get(pk=specimen.pk)
    workflow.after(workflow.Act.ADD_IMAGES, specimen.state)
    against = contradictions(
        attributes_of(instance), candidate_of(specimen), instance.site.accession_issuers
    )
    if against and not confirmed:
        raise IdentifiersDisagree(" ".join(against))
    reason = f"Confirmed by {actor.display_name} although: {' '.join(against)}" if against else ""
    before = {"state": instance.state, "reason": instance.reason}
    _decide(instance, actor, State.MATCHED, reason)
    instance.specimen = specimen
    instance.full_clean()
    instance.save()
    add_frames(actor=actor, specimen=specimen, frames=_frames(instance))
    audit.record(
        actor=actor,
        action="dicom.assigned",
        subject=instance,
        specimen=specimen,
        details={"sop_instance_uid": instance.sop_instance_uid, "before": before, "reason": reason},
    )
    return instance


@transaction.atomic
def discard_instance(*, actor: User, instance: DicomInstance, reason: str) -> DicomInstance:
    """Put a waiting instance aside, with the reason; its file is kept, and it can be assigned yet.

    Raises ValidationError (no reason), Conflict (somebody was faster), PermissionDenied.
    """
    require(actor, Action.ADD_IMAGES)
    reason = reason.strip()
    if not reason:
        raise ValidationError({"reason": "Say why it is discarded."})
    instance = _locked(actor, instance)
    if instance.state not in (State.UNMATCHED, State.QUARANTINED):
        raise Conflict("Somebody decided about it meanwhile. Look at the list again.")
    before = {"state": instance.state, "reason": instance.reason}
    _decide(instance, actor, State.DISCARDED, reason)
    instance.full_clean()
    instance.save()
    audit.record(
        actor=actor,
        action="dicom.discarded",
        subject=instance,
        site=instance.site,
        details={"sop_instance_uid": instance.sop_instance_uid, "before": before, "reason": reason},
    )
    return instance


@transaction.atomic
def record_look(*, actor: User, instance: DicomInstance) -> None:
    """Record that `actor` looked at what an instance says of a patient (45 CFR 164.312(b))."""
    audit.record(
        actor=actor,
        action="dicom.viewed",
        subject=instance,
        site=instance.site,
        specimen=instance.specimen,
        details={"sop_instance_uid": instance.sop_instance_uid},
    )


@transaction.atomic
def adopt_waiting_instances(*, actor: User | None, specimen: Specimen) -> int:
    """Take unmatched instances that came before `specimen`, where the match is unique now.

    Called by who accessions it, in that transaction and after its audit event: the chain is locked
    then, so that every instance stored as unmatched is either visible here or sees the specimen.
    Instances another person is deciding about are left to them. Returns how many.
    """
    if not workflow.may(workflow.Act.ADD_IMAGES, specimen.state):
        return 0
    waiting = waiting_for(specimen).order_by("received_at", "pk")
    waiting = waiting.select_related("site").select_for_update(of=("self",), skip_locked=True)
    adopted: list[DicomInstance] = []
    slides: dict[int | None, list[DicomInstance]] = {}
    for instance in waiting:
        decision = decision_for(instance.site, attributes_of(instance))
        if _is_for(decision, specimen) and decision.candidate is not None:
            adopted.append(instance)
            slides.setdefault(decision.candidate.slide_id, []).append(instance)
    for instance in adopted:
        instance.state, instance.reason, instance.specimen = State.MATCHED, "", specimen
    DicomInstance.objects.bulk_update(adopted, ["state", "reason", "specimen"])
    for slide_id, instances in slides.items():
        frames = [frame for instance in instances for frame in _frames(instance)]
        add_frames(actor=actor, specimen=specimen, frames=frames, slide_id=slide_id)
    return len(adopted)


def _is_for(decision: Decision, specimen: Specimen) -> bool:
    return (
        decision.state == "matched"
        and decision.candidate is not None
        and decision.candidate.specimen_id == specimen.pk
    )


def _locked(actor: User, instance: DicomInstance) -> DicomInstance:
    rows = visible_to(actor, DicomInstance).select_related("site")
    return rows.select_for_update(of=("self",)).get(pk=instance.pk)


def _decide(instance: DicomInstance, actor: User, state: str, reason: str) -> None:
    instance.state, instance.reason = state, reason[:500]
    instance.decided_by, instance.decided_at = actor, timezone.now()


def _frames(instance: DicomInstance) -> list[DicomFrame]:
    frames = list(instance.frames.order_by("number"))
    for frame in frames:
        frame.instance = instance
    return frames
