"""One try of one delivery: rendered once, sent, and written down what became of it."""

import time
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.db.models import OuterRef, Subquery

from classifier.classes import CLASS_BY_NAME
from specimens.documents.report_pdf import report_pdf
from specimens.interop.channels import (
    Channel,
    DeliveryFailure,
    OutgoingReport,
    Payload,
    PermanentFailure,
    Receipt,
    SourceInstance,
    channel_for,
)
from specimens.models import Delivery, DicomFrame, Prediction, Report, Review
from specimens.selectors.codes import code_table
from specimens.selectors.reports import picture_files, report_sheet
from specimens.services.deliveries_queue import fail_delivery, finish_delivery, keep_payload

logger = structlog.get_logger(__name__)


def attempt_delivery(*, delivery: Delivery) -> bool:
    """Send a claimed delivery and record the outcome; tell whether it arrived.

    The database is used before and after, and let go of while the other side takes its time.
    """
    started = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(
        delivery=delivery.pk,
        destination=delivery.destination_id,
        specimen=delivery.specimen_id,
        site=delivery.destination.site_id,
        attempt=delivery.attempts,
    )
    try:
        receipt = _send(delivery)
    except DeliveryFailure as failure:
        # What the other side said stands at the delivery: it may have repeated what it was sent.
        logger.warning("not delivered", error=failure, ms=_milliseconds(started))
        fail_delivery(delivery=delivery, failure=failure)
        return False
    logger.info("delivered", ms=_milliseconds(started))
    return finish_delivery(delivery=delivery, receipt=receipt)


def _milliseconds(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _send(delivery: Delivery) -> Receipt:
    destination = delivery.destination
    try:
        channel = channel_for(destination.kind)
        payload = _payload(channel, delivery)
        if not connection.in_atomic_block:
            connection.close()
        return channel.send(payload, delivery.message_id, destination.address, destination.settings)
    except (DeliveryFailure, OperationalError, InterfaceError):
        raise  # a database that goes away meanwhile holds nothing: the lease runs out
    except LookupError as error:
        raise PermanentFailure(str(error)) from error
    except Exception as error:
        # A fault of ours must neither lose the report nor stop the others: a person sees it.
        logger.exception("a delivery failed by a fault of ours")
        raise PermanentFailure(
            f"It could not be made or sent because of a fault in wbclab ({type(error).__name__}: "
            f"{error}). Tell whoever looks after it; retry it when the cause is known."
        ) from error


def _payload(channel: Channel, delivery: Delivery) -> Payload:
    """Return what is sent: what was kept, or rendered now and kept before anything goes out."""
    if delivery.payload is not None:
        return Payload(bytes(delivery.payload), delivery.content_type)
    destination = delivery.destination
    payload = channel.render(
        outgoing_report(delivery), destination.address, dict(destination.settings)
    )
    if not keep_payload(delivery=delivery, payload=payload):
        raise PermanentFailure("The lease was taken over.")  # not recorded: it is no longer ours
    return payload


def outgoing_report(delivery: Delivery) -> OutgoingReport:
    """Gather everything a channel may need of a delivery."""
    report = delivery.report
    previous = _version_before(report) if report else None
    return OutgoingReport(
        message_id=delivery.message_id,
        event=delivery.event,
        content=report.content if report else delivery.content or {},
        previous=previous.content if previous else None,
        created_at=report.signed_at if report else delivery.created_at,
        pdf=lambda: _pdf(report),
        codes=code_table(delivery.specimen.site),
        sources=_sources(delivery.specimen_id, report),
        report_id=str(report.pk) if report else "",
        previous_report_id=str(previous.pk) if previous else "",
        previous_sources=_sources(delivery.specimen_id, previous) if previous else [],
    )


def _version_before(report: Report) -> Report | None:
    return Report.objects.filter(specimen=report.specimen_id, version=report.version - 1).first()


def _pdf(report: Report | None) -> bytes:
    if report is None:
        raise PermanentFailure("A preliminary result has no signed document.")
    return report_pdf(report_sheet(report), pictures=picture_files(report))


def _sources(specimen_id: int, report: Report | None) -> list[SourceInstance]:
    """Return the DICOM frames the cells were seen in, each with the class the result counts it as.

    Of a report these are the cells and labels as they stood at the signature.
    """
    reviews = Review.objects.filter(cell_image=OuterRef("cell_image")).order_by("-pk")
    cells = DicomFrame.objects.filter(cell_image__specimen=specimen_id)
    if report:
        reviews = reviews.filter(created_at__lte=report.signed_at)
        cells = cells.filter(cell_image__created_at__lte=report.signed_at)
    newest = Prediction.objects.filter(cell_image=OuterRef("cell_image")).order_by("-pk")
    frames = (
        cells.select_related("instance")
        .annotate(
            label=Subquery(reviews.values("label")[:1]),
            decision=Subquery(newest.values("decision")[:1]),
        )
        .order_by("cell_image")
    )
    return [_source(frame) for frame in frames if frame.label or frame.decision]


def _source(frame: Any) -> SourceInstance:
    instance = frame.instance
    return SourceInstance(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        frame=frame.number if instance.number_of_frames > 1 else None,
        cell_class=frame.label or CLASS_BY_NAME[frame.decision].key,
    )
