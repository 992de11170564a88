"""Patients and orders that FHIR clients send: taken once, however often they are sent."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from specimens.interop.fhir.elements import Fault, Refused
from specimens.interop.fhir.incoming import SentOrder, SentPatient, issuer_of
from specimens.interop.fhir.naming import Systems
from specimens.models import Order, OrderedTest, Patient, Site, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.codes import code_table
from specimens.selectors.fhir import systems
from specimens.services.accessioning import (
    OrderData,
    PatientData,
    accession_specimen,
    register_patient,
)
from specimens.services.errors import Conflict
from specimens.services.order_entry import place_order
from specimens.terminology import SCHEMES


@dataclass(frozen=True, slots=True)
class Taken:
    """What is recorded now; `is_new` False: it was, already, the same."""

    row: Any
    is_new: bool


@transaction.atomic
def take_patient(*, actor: User, sent: SentPatient) -> Taken:
    """Record a patient, or find the same one.

    Raises Refused, ValidationError, Conflict (the number has other demographics), PermissionDenied.
    """
    require(actor, Action.ACCESSION)
    site = _site(actor, sent.organization, "Patient.managingOrganization")
    return Taken(*register_patient(actor=actor, site=site, data=_data(sent, site)))


@transaction.atomic
def take_order(*, actor: User, sent: SentOrder) -> Taken:
    """Record an order, with its specimen where that came along; or find the same one.

    Raises Refused, ValidationError (the accession number is taken), Conflict (the placer number
    has another order, or the patient number another patient), PermissionDenied.
    """
    require(actor, Action.ACCESSION)
    site, patient = _patient_of(actor, sent)
    at = systems().at(site.code)
    _check_test(site, sent)
    if sent.placer_system not in ("", at.placer):
        place = "ServiceRequest.identifier.system"
        text = f"{place}: orders of this laboratory are numbered in {at.placer}."
        raise Refused([Fault("value", place, text)])
    known = Order.objects.select_for_update(of=("self",)).filter(
        site=site, placer_number=sent.placer_number
    )
    if order := known.select_related("patient").first():
        _check_same(order, sent, patient)
        return Taken(order, False)
    return Taken(_new(actor, site, patient, sent), True)


def _new(actor: User, site: Site, patient: PatientData, sent: SentOrder) -> Order:
    order = OrderData(
        placer_number=sent.placer_number,
        priority=sent.priority,
        requester=sent.requester,
        clinical_information=sent.clinical_information,
        ordered_at=sent.ordered_at,
    )
    if not sent.accession_number:
        return place_order(actor=actor, site=site, patient=patient, order=order)
    return accession_specimen(
        actor=actor,
        site=site,
        accession_number=sent.accession_number,
        patient=patient,
        order=order,
        collected_at=sent.collected_at,
    ).order


def _site(actor: User, organization: str, place: str) -> Site:
    """The site a resource names, or the only one the account belongs to."""
    sites = list(visible_to(actor, Site))
    if organization:
        sites = [site for site in sites if str(site.pk) == organization]
        if not sites:
            text = f"{place}: there is no Organization/{organization} among your sites."
            raise Refused([Fault("not-found", place, text)])
    if len(sites) != 1:
        text = f"{place}: you belong to {len(sites)} sites; name one as Organization/id."
        raise Refused([Fault("required", place, text)])
    return sites[0]


def _data(sent: SentPatient, site: Site) -> PatientData:
    return PatientData(
        identifier=sent.identifier,
        issuer=issuer_of(sent.issuer_system, systems().at(site.code)),
        family_name=sent.family_name,
        given_name=sent.given_name,
        birth_date=sent.birth_date,
        sex=sent.sex,
    )


def _patient_of(actor: User, sent: SentOrder) -> tuple[Site, PatientData]:
    """The patient of an order and the site both belong to."""
    place = "ServiceRequest.performer"
    if sent.patient is not None:
        site = _site(actor, sent.organization or sent.patient.organization, place)
        return site, _data(sent.patient, site)
    patient = _known_patient(actor, sent)
    if sent.organization and sent.organization != str(patient.site_id):
        text = f"{place}: the patient belongs to Organization/{patient.site_id}."
        raise Refused([Fault("business-rule", place, text)])
    columns = ("identifier", "issuer", "family_name", "given_name", "birth_date", "sex")
    data = PatientData(**{name: getattr(patient, name) for name in columns})
    return patient.site, data


def _known_patient(actor: User, sent: SentOrder) -> Patient:
    rows = visible_to(actor, Patient).select_related("site")
    if sent.patient_number is None:
        is_key = sent.patient_id.isascii() and sent.patient_id.isdigit()
        keys = [int(sent.patient_id)] if is_key and len(sent.patient_id) < 19 else []
        found = list(rows.filter(pk__in=keys))
        named = f"Patient/{sent.patient_id}"
    else:
        system, value = sent.patient_number
        given: Systems = systems()
        found = [
            row
            for row in rows.filter(identifier=value)
            if system == "" or issuer_of(system, given.at(row.site.code)) == row.issuer
        ]
        if sent.organization:
            found = [row for row in found if str(row.site_id) == sent.organization]
        named = f"patient with the number {system}|{value}"
    if len(found) != 1:
        text = f"There is no {named} at your sites; create it first, or contain it."
        if found:
            text = f"There are several: {named}. Refer to one as Patient/id."
        raise Refused([Fault("not-found", "ServiceRequest.subject", text)])
    return found[0]


def _check_test(site: Site, sent: SentOrder) -> None:
    """Only the differential is ordered here; anything else would never be answered."""
    panel = code_table(site).panel
    known = {(panel.system, panel.code)}
    own = OrderedTest.objects.filter(site=site, meaning=OrderedTest.Meaning.DIFFERENTIAL)
    schemes = {scheme: system for system, scheme in SCHEMES.items()}
    for code, scheme in own.values_list("code", "system"):
        known.add((schemes.get(scheme, scheme), code))
    if not known.intersection(sent.codings):
        place = "ServiceRequest.code"
        offered = " or ".join("|".join(one) for one in sorted(known))
        text = f"{place}: this laboratory takes orders of the differential, {offered}, only."
        raise Refused([Fault("code-invalid", place, text)])


def _check_same(order: Order, sent: SentOrder, patient: PatientData) -> None:
    """Raise Conflict where the order under this number says something else."""
    recorded = {
        "patient": (order.patient.issuer, order.patient.identifier),
        "priority": order.priority,
        "requester": order.requester,
        "clinical information": order.clinical_information,
    }
    given = {
        "patient": (patient.issuer, patient.identifier),
        "priority": sent.priority,
        "requester": sent.requester,
        "clinical information": sent.clinical_information,
    }
    differing = [name for name, value in recorded.items() if value != given[name]]
    numbers = set(order.specimens.values_list("accession_number", flat=True))
    if sent.accession_number and sent.accession_number not in numbers:
        differing.append("accession number")
    if differing:
        raise Conflict(
            f"Placer number {sent.placer_number} has an order already, with another "
            f"{', '.join(differing)}. Read ServiceRequest/{order.pk}; a new order has a new number."
        )
