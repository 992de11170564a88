"""Taking in DICOM instances. When `receive_instance` returns, what it took cannot be lost."""

from pathlib import Path

import structlog
from django.core.exceptions import PermissionDenied
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, InterfaceError, OperationalError, transaction

from specimens import workflow
from specimens.dicom.reader import ReadInstance, read_instance
from specimens.dicom.refusals import DicomRefusal
from specimens.models import DicomImport, DicomInstance, Job, Site, Specimen, User
from specimens.models.dicom import Way
from specimens.permissions import Action, require, visible_to
from specimens.selectors.dicom import decision_for
from specimens.services.dicom_import_arrival import Arrival, ImportOutcome, log_outcome
from specimens.services.dicom_import_decisions import assign_instance
from specimens.services.dicom_import_log import record_refusal
from specimens.services.dicom_import_rows import (
    MatchedMeanwhile,
    refuse_contradictions,
    same_uid,
    unsaved_instance,
    write_rows,
)
from specimens.services.errors import Conflict, QueueFull
from specimens.services.imaging import clean_filename
from specimens.services.queue_entry import refuse_when_full, urgency_of

__all__ = ["ImportOutcome", "receive_instance", "record_refusal"]

logger = structlog.get_logger(__name__)

State = DicomInstance.State
# Senders that bring the same UID at once, or an accession in between: each round sees one more.
_ROUNDS = 5
_DATABASE_AWAY = (OperationalError, InterfaceError)


def receive_instance(
    *,
    actor: User | None,
    site: Site,
    path: Path,
    sender: str,
    way: str,
    filename: str = "",
    specimen: Specimen | None = None,
    confirmed: bool = False,
) -> ImportOutcome:
    """Take in one Part 10 file that lies on the disk; the file itself is left where it is.

    Idempotent on (SOP Instance UID, frame). `specimen` is where a person dropped the file; where
    its identifiers say otherwise it is refused unless `confirmed`. Raises DicomRefusal, which the
    import log holds as well.
    """
    arrival = Arrival(
        actor=actor,
        site=site,
        sender=sender[:120],
        way=Way(way),
        filename=clean_filename(filename or path.name),
        specimen=specimen,
        confirmed=confirmed,
    )
    try:
        outcome = _receive(arrival, path)
    except DicomRefusal as refusal:
        if refusal.code == "queue_full" and arrival.way == Way.COMMAND:
            raise  # the command waits and asks every few seconds: that is no refusal
        logger.info("a DICOM object was refused", way=way, code=refusal.code)
        record_refusal(
            site=site, sender=sender, way=way, refusal=refusal, actor=actor, path=path,
            filename=arrival.filename,
        )  # fmt: skip
        raise
    logger.info(
        "a DICOM object came in",
        way=way,
        instance=outcome.instance_id,
        outcome=outcome.state,
        specimen=outcome.specimen_id,
    )
    return outcome


def _receive(arrival: Arrival, path: Path) -> ImportOutcome:
    _check_permission(arrival)
    try:
        read = read_instance(path)
        for _ in range(_ROUNDS):
            known = _known(arrival, read)
            if known is not None:
                return known
            _refuse_when_full(arrival, read)
            try:
                return _store(arrival, read, path)
            except (IntegrityError, MatchedMeanwhile):
                continue
    except QueueFull as full:
        raise DicomRefusal("queue_full", str(full)) from full
    except _DATABASE_AWAY as error:
        logger.exception("the database cannot be used")
        text = "The database cannot be reached at the moment. Send the object again."
        raise DicomRefusal("database_unavailable", text) from error
    text = "The same object arrives from several senders at once. Send it again."
    raise DicomRefusal("queue_full", text)


def _refuse_when_full(arrival: Arrival, read: ReadInstance) -> None:
    """Refuse before anything is written; where routine work fills the queue, STAT work is let in.

    `write_rows` asks again for the specimen it has found and locked.
    """
    urgency = Job.Urgency.ROUTINE if arrival.specimen is None else urgency_of(arrival.specimen)
    try:
        refuse_when_full(site=arrival.site, urgency=urgency)
    except QueueFull:
        candidate = decision_for(arrival.site, read.attributes).candidate
        if arrival.specimen is not None or candidate is None:
            raise
        specimen = Specimen.objects.select_related("order").get(pk=candidate.specimen_id)
        refuse_when_full(site=arrival.site, urgency=urgency_of(specimen))


def _check_permission(arrival: Arrival) -> None:
    """An actor needs the role and the site; without one it is a peer that was let in as such."""
    if arrival.actor is None:
        return
    try:
        require(arrival.actor, Action.ADD_IMAGES)
    except PermissionDenied as denied:
        raise DicomRefusal("not_allowed", str(denied)) from denied
    sites = visible_to(arrival.actor, Site).filter(pk=arrival.site.pk)
    elsewhere = arrival.specimen is not None and arrival.specimen.site_id != arrival.site.pk
    if elsewhere or not sites.exists():
        raise DicomRefusal("not_allowed", "Your account does not belong to this site.")


@transaction.atomic
def _known(arrival: Arrival, read: ReadInstance) -> ImportOutcome | None:
    """The outcome for an instance that is here already, with this content; None: it is not."""
    same = same_uid(arrival.site, read).filter(content_sha256=read.content_sha256).first()
    if same is None:
        return None
    if arrival.specimen is not None and same.specimen_id != arrival.specimen.pk:
        return _bring_to_specimen(arrival, read, same)
    images = same.frames.filter(cell_image__isnull=False).order_by("number")
    texts = {
        State.MATCHED: "It is here already, with the same content; nothing was changed.",
        State.UNMATCHED: f"It is here already and waits to be matched. {same.reason}",
        State.QUARANTINED: f"It is here already, in quarantine. {same.reason}",
        State.DISCARDED: f"It was discarded before: {same.reason}",
    }
    quarantined = same.state == State.QUARANTINED
    outcome = ImportOutcome(
        state="quarantined" if quarantined else "duplicate",
        sop_class_uid=same.sop_class_uid,
        sop_instance_uid=same.sop_instance_uid,
        specimen_id=same.specimen_id,
        cell_image_ids=tuple(images.values_list("cell_image_id", flat=True)),
        text=texts[State(same.state)],
        instance_id=same.pk,
    )
    log_outcome(arrival, same, DicomImport.Outcome.DUPLICATE, outcome.text)
    return outcome


def _bring_to_specimen(arrival: Arrival, read: ReadInstance, same: DicomInstance) -> ImportOutcome:
    """A person drops on a specimen what is here already, elsewhere or waiting."""
    assert arrival.specimen is not None and arrival.actor is not None  # noqa: S101
    if same.state == State.MATCHED:
        number = same.specimen.accession_number if same.specimen else ""
        text = f"The same object is counted in specimen {number} already; it was not added here."
        raise DicomRefusal("counted_elsewhere", text)
    refuse_contradictions(arrival, read, decision_for(arrival.site, read.attributes))
    try:
        assign_instance(
            actor=arrival.actor, instance=same, specimen=arrival.specimen, confirmed=True
        )
    except (Conflict, workflow.NotAllowedInState) as refusal:
        raise DicomRefusal("not_in_this_state", str(refusal)) from refusal
    images = same.frames.order_by("number").values_list("cell_image_id", flat=True)
    text = "It was waiting here; it is assigned to this specimen now."
    log_outcome(arrival, same, DicomImport.Outcome.STORED, text)
    return ImportOutcome(
        state="stored",
        sop_class_uid=same.sop_class_uid,
        sop_instance_uid=same.sop_instance_uid,
        specimen_id=arrival.specimen.pk,
        cell_image_ids=tuple(pk for pk in images if pk is not None),
        text=text,
        instance_id=same.pk,
    )


def _store(arrival: Arrival, read: ReadInstance, path: Path) -> ImportOutcome:
    """Write the file, then the rows; what was written is removed again where the rows fail."""
    instance = unsaved_instance(arrival, read)
    try:
        with path.open("rb") as file:
            instance.file.save("instance.dcm", File(file), save=False)
    except OSError as error:
        logger.exception("the image store cannot be written")
        text = "It could not be stored. An administrator must look at the disk; then send it again."
        raise DicomRefusal("storage_unavailable", text) from error
    try:
        with transaction.atomic():
            return write_rows(arrival, read, instance)
    except _DATABASE_AWAY:
        raise  # perhaps it has committed, and then needs the file
    except BaseException:
        default_storage.delete(str(instance.file.name))
        raise
