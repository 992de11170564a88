"""Reads around DICOM: which specimens an identifier fits, what waits for a person."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.db.models import Q, QuerySet

from specimens.dicom.attributes import Attributes
from specimens.dicom.matching import Candidate, Decision, Step, decide, issued_here, names_specimen
from specimens.models import DicomFrame, DicomInstance, Site, Specimen, User
from specimens.permissions import visible_to

State = DicomInstance.State
# What a person has to look at.
WAITING = (State.UNMATCHED, State.QUARANTINED)
# More than fit one identifier are no help to anybody.
_MOST_CANDIDATES = 20
# How many specimens one data set may describe and still be found again by each.
_SPECIMENS_LOOKED_UP = 4


def decision_for(site: Site, attributes: Attributes) -> Decision:
    """What is to become of an object with these attributes at this site."""
    return decide(attributes, steps_for(site, attributes))


def steps_for(site: Site, attributes: Attributes) -> list[Step]:
    """Each identifier of the data set, and the specimens of the site it fits."""
    ours = site.accession_issuers
    specimens = _specimens_of(site)
    steps = []
    number = attributes.accession_number
    if number and issued_here(attributes.accession_issuer, ours):
        steps.append(_step("accession number", number, specimens.filter(accession_number=number)))
    for one in attributes.specimens:
        if issued_here(one.issuer, ours):
            fitting = specimens.filter(accession_number=one.value)
            steps.append(_step("specimen", one.value, fitting))
    container = attributes.container_identifier
    if container and issued_here(attributes.container_issuer, ours):
        steps.append(_container_step(specimens, container))
    # A patient has several specimens in the course of time: their number alone decides only where
    # the data set names nothing more exact.
    if attributes.patient_id and not names_specimen(attributes):
        steps.append(_patient_step(specimens, attributes))
    return steps


def candidate_of(specimen: Specimen) -> Candidate:
    """A specimen as the rules of matching see it; its order and patient are read."""
    patient = specimen.order.patient
    return Candidate(
        specimen_id=specimen.pk,
        accession_number=specimen.accession_number,
        patient_identifier=patient.identifier,
        patient_issuer=patient.issuer,
    )


def _specimens_of(site: Site) -> QuerySet[Specimen]:
    return Specimen.objects.filter(site=site).select_related("order__patient")


def _step(attribute: str, value: str, fitting: Iterable[Specimen]) -> Step:
    return Step(attribute, value, tuple(candidate_of(specimen) for specimen in fitting))


def _container_step(specimens: QuerySet[Specimen], value: str) -> Step:
    """A container is the tube, or a slide whose label begins with the number of its specimen.

    A label like "1" is on a slide of every specimen, and says nothing without one.
    """
    found = {}
    fitting = specimens.filter(Q(accession_number=value) | Q(slides__label=value))
    for specimen in fitting.distinct().prefetch_related("slides"):
        if value.startswith(specimen.accession_number):
            slide = next((one for one in specimen.slides.all() if one.label == value), None)
            candidate = candidate_of(specimen)
            found[specimen.pk] = replace(candidate, slide_id=slide.pk if slide else None)
    return Step("container", value, tuple(found.values()))


def _patient_step(specimens: QuerySet[Specimen], attributes: Attributes) -> Step:
    fitting = specimens.filter(order__patient__identifier=attributes.patient_id)
    if attributes.patient_issuer:
        fitting = fitting.filter(order__patient__issuer__iexact=attributes.patient_issuer)
    return _step("patient", attributes.patient_id, fitting.order_by("-pk")[:_MOST_CANDIDATES])


def waiting_for(specimen: Specimen) -> QuerySet[DicomInstance]:
    """Unmatched instances that may be of `specimen`; the rules of matching decide about each."""
    patient = specimen.order.patient
    number = specimen.accession_number
    fits = (
        Q(identifiers__accession_number=number)
        | Q(identifiers__container_identifier=number)
        | Q(identifiers__patient_id=patient.identifier)
    )
    for place in range(_SPECIMENS_LOOKED_UP):
        fits |= Q(**{f"identifiers__specimens__{place}__value": number})
    waiting = DicomInstance.objects.filter(site_id=specimen.site_id, state=State.UNMATCHED)
    return waiting.filter(fits)


def listed_instances(user: User, states: Iterable[str] = WAITING) -> QuerySet[DicomInstance]:
    """Instances of the person's sites in these states, the newest first."""
    rows = visible_to(user, DicomInstance).filter(state__in=tuple(states))
    return rows.select_related(
        "site", "received_from", "decided_by", "conflicts_with__specimen"
    ).order_by("-received_at", "-pk")


def waiting_count(user: User) -> int:
    """How many instances of the person's sites wait for somebody."""
    return visible_to(user, DicomInstance).filter(state__in=WAITING).count()


def candidates_for(instance: DicomInstance) -> list[Specimen]:
    """Specimens a person may have in mind for it: whatever any of its identifiers fits."""
    attributes = attributes_of(instance)
    steps = steps_for(instance.site, attributes)
    if attributes.patient_id and names_specimen(attributes):
        steps.append(_patient_step(_specimens_of(instance.site), attributes))
    ids = [one.specimen_id for step in steps for one in step.candidates]
    if instance.conflicts_with is not None and instance.conflicts_with.specimen_id is not None:
        ids.append(instance.conflicts_with.specimen_id)
    found = _specimens_of(instance.site).in_bulk(ids)
    return [found[pk] for pk in dict.fromkeys(ids)][:_MOST_CANDIDATES]


def attributes_of(instance: DicomInstance) -> Attributes:
    """What its data set says, from what is kept beside the file."""
    kept: dict[str, Any] = instance.identifiers
    return Attributes.from_identifiers(kept)


def frames_of(specimen: Specimen) -> QuerySet[DicomFrame]:
    """Frames that are cell images of a specimen, in the order they came in."""
    frames = DicomFrame.objects.filter(cell_image__specimen=specimen)
    return frames.select_related("instance", "cell_image").order_by("instance_id", "number")
