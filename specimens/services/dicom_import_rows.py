"""The rows of an instance that arrives: matched, unmatched or quarantined, decided under locks."""

from typing import Literal

from django.db.models import QuerySet

from specimens import workflow
from specimens.dicom.matching import Decision, contradictions
from specimens.dicom.reader import ReadInstance
from specimens.dicom.refusals import DicomRefusal
from specimens.models import DicomFrame, DicomImport, DicomInstance, Site, Specimen
from specimens.selectors.dicom import candidate_of, decision_for
from specimens.services import audit
from specimens.services.dicom_import_arrival import Arrival, ImportOutcome, log_outcome
from specimens.services.dicom_import_cells import add_frames
from specimens.services.queue_entry import refuse_when_full, urgency_of

State = DicomInstance.State


class MatchedMeanwhile(Exception):
    """While the instance was written down as unmatched, its specimen was accessioned."""


def same_uid(site: Site, read: ReadInstance) -> QuerySet[DicomInstance]:
    """What the site has under this SOP Instance UID, the one received first in front."""
    rows = DicomInstance.objects.filter(
        site=site, sop_instance_uid=read.attributes.sop_instance_uid
    )
    return rows.order_by("pk")


def refuse_contradictions(arrival: Arrival, read: ReadInstance, decision: Decision) -> str:
    """Refuse what speaks against the chosen specimen; the same as a note where confirmed."""
    if arrival.specimen is None:
        return ""
    chosen = candidate_of(arrival.specimen)
    found = contradictions(read.attributes, chosen, arrival.site.accession_issuers)
    other = decision.candidate
    if not found and other is not None and other.specimen_id != chosen.specimen_id:
        found.append(f"Its identifiers fit specimen {other.accession_number}.")
    if found and not arrival.confirmed:
        text = (
            f"{' '.join(found)} It was not added to {chosen.accession_number}: look at the file, "
            "and confirm only if it belongs here all the same."
        )
        raise DicomRefusal("identifiers_disagree", text)
    return " ".join(found)


def unsaved_instance(arrival: Arrival, read: ReadInstance) -> DicomInstance:
    """The row of what arrives, still without state and file."""
    attributes, image = read.attributes, read.image
    return DicomInstance(
        site=arrival.site,
        sop_class_uid=attributes.sop_class_uid,
        sop_instance_uid=attributes.sop_instance_uid,
        series_instance_uid=attributes.series_instance_uid,
        study_instance_uid=attributes.study_instance_uid,
        transfer_syntax_uid=image.syntax,
        number_of_frames=len(image.frames),
        rows=image.pixels.rows,
        columns=image.pixels.columns,
        micrometres_per_pixel=image.micrometres_per_pixel,
        filename=arrival.filename,
        size=read.size,
        sha256=read.sha256,
        content_sha256=read.content_sha256,
        identifiers=attributes.identifiers(),
        icc_profile=read.icc_profile,
        way=arrival.way,
        sender=arrival.sender,
        received_from=arrival.actor,
    )


def write_rows(arrival: Arrival, read: ReadInstance, instance: DicomInstance) -> ImportOutcome:
    """Decide and write, under the locks that keep the decision true until the commit.

    Raises DicomRefusal, QueueFull, MatchedMeanwhile, IntegrityError (somebody was faster).
    """
    first = same_uid(arrival.site, read).select_for_update(of=("self",)).first()
    if first is not None:
        _quarantine_conflict(instance, first)
        return _write(arrival, read, instance)
    decision = decision_for(arrival.site, read.attributes)
    note = refuse_contradictions(arrival, read, decision)
    instance.specimen, slide_id = _destination(arrival, decision, instance)
    if note:
        name = arrival.actor.display_name if arrival.actor else "the sender"
        instance.reason = f"Confirmed by {name} although: {note}"[:500]
    outcome = _write(arrival, read, instance, slide_id)
    # Where it waits, the audit chain is locked now, as it is by who accessions. What they committed
    # before is visible from here on; what they commit later finds this row
    # (adopt_waiting_instances).
    if instance.specimen is None and decision_for(arrival.site, read.attributes) != decision:
        raise MatchedMeanwhile
    return outcome


def _write(
    arrival: Arrival, read: ReadInstance, instance: DicomInstance, slide_id: int | None = None
) -> ImportOutcome:
    instance.save()
    frames = DicomFrame.objects.bulk_create(
        DicomFrame(instance=instance, number=number, sha256=digest)
        for number, digest in enumerate(read.frame_digests, start=1)
    )
    images: list[int] = []
    if instance.specimen is not None:
        images = add_frames(
            actor=arrival.actor, specimen=instance.specimen, frames=frames, slide_id=slide_id
        )
    outcome = _outcome(instance, images)
    log_outcome(arrival, instance, DicomImport.Outcome(outcome.state), outcome.text)
    if instance.specimen is None or instance.reason:
        audit.record(
            actor=arrival.actor,
            action="dicom.confirmed" if instance.specimen else f"dicom.{instance.state}",
            subject=instance,
            site=arrival.site,
            specimen=instance.specimen,
            details={
                "sop_instance_uid": instance.sop_instance_uid,
                "sender": arrival.sender,
                "reason": instance.reason,
            },
        )
    return outcome


def _destination(
    arrival: Arrival, decision: Decision, instance: DicomInstance
) -> tuple[Specimen | None, int | None]:
    """The specimen, locked, if there is one that can take images; else the state says why not."""
    chosen = arrival.specimen.pk if arrival.specimen is not None else None
    slide_id = None
    if chosen is None and decision.state == "matched" and decision.candidate is not None:
        chosen, slide_id = decision.candidate.specimen_id, decision.candidate.slide_id
    if chosen is None:
        instance.state, instance.reason = State(decision.state), decision.reason[:500]
        return None, None
    locked = Specimen.objects.select_for_update(of=("self",)).select_related("order")
    specimen = locked.get(pk=chosen, site=arrival.site)
    if workflow.may(workflow.Act.ADD_IMAGES, specimen.state):
        frames = instance.number_of_frames
        refuse_when_full(site=arrival.site, urgency=urgency_of(specimen), images=frames)
        instance.state = State.MATCHED
        return specimen, slide_id
    if arrival.specimen is not None:
        try:
            workflow.after(workflow.Act.ADD_IMAGES, specimen.state)
        except workflow.NotAllowedInState as refusal:
            raise DicomRefusal("not_in_this_state", str(refusal)) from refusal
    shown = specimen.get_state_display().lower()
    instance.state = State.UNMATCHED
    instance.reason = (
        f"It is of specimen {specimen.accession_number}, which is {shown} and takes no more images."
    )
    return None, None


def _quarantine_conflict(instance: DicomInstance, first: DicomInstance) -> None:
    instance.state = State.QUARANTINED
    instance.conflicts_with = first
    instance.reason = (
        f"Another object with the same SOP Instance UID, but other content, was received first "
        f"({first.received_at:%Y-%m-%d %H:%M} UTC from {first.sender}). That one stays as it is."
    )


def _outcome(instance: DicomInstance, images: list[int]) -> ImportOutcome:
    states: dict[str, Literal["stored", "unmatched", "quarantined"]] = {
        State.MATCHED: "stored",
        State.UNMATCHED: "unmatched",
        State.QUARANTINED: "quarantined",
    }
    text = instance.reason
    if instance.specimen is not None:
        noun = "image" if len(images) == 1 else "images"
        text = f"{len(images)} {noun} added to specimen {instance.specimen.accession_number}."
    return ImportOutcome(
        state=states[instance.state],
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        specimen_id=instance.specimen_id,
        cell_image_ids=tuple(images),
        text=text,
        instance_id=instance.pk,
    )
