"""Reading what hospital systems sent: the messages, and what their numbers and codes lead to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db.models import (
    Case,
    Count,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from specimens.interop.hl7.message import Header, Message
from specimens.interop.hl7.order_fields import Service
from specimens.interop.hl7.persons import Person
from specimens.models import InboundMessage, Order, OrderedTest, Patient, Site, User
from specimens.models.patients_orders import Priority
from specimens.permissions import visible_to
from specimens.selectors.codes import code_table

SHOWN_SEGMENTS: Final = 200


def find_order(site: Site, placer_number: str, filler_number: str) -> Order | None:
    """The order under a placer number, else the only one under a filler or accession number."""
    orders = Order.objects.filter(site=site).select_related("patient")
    if placer_number:
        found = orders.filter(placer_number=placer_number).first()
        if found is not None:
            return found
        orders = orders.filter(placer_number="")  # it may have come without one at first
    if not filler_number:
        return None
    by_number = Q(filler_number=filler_number) | Q(specimens__accession_number=filler_number)
    several = list(orders.filter(by_number).distinct()[:2])
    return several[0] if len(several) == 1 else None


def find_patient(site: Site, person: Person) -> Patient | None:
    """The patient under the number of a message, else under one of its others."""
    patients = Patient.objects.filter(site=site)
    exact = patients.filter(identifier=person.identifier, issuer=person.issuer).first()
    if exact is not None or not person.others:
        return exact
    any_number = Q()
    for identifier, issuer in person.others:
        any_number |= Q(identifier=identifier, issuer=issuer)
    found = list(patients.filter(any_number)[:2])
    return found[0] if len(found) == 1 else None


def meaning_of(site: Site, service: Service) -> str | None:
    """What a test code means at the site; None where nobody has said.

    The code of the site's own panel means the differential.
    """
    asked = [(service.code, service.system), (service.alternate, service.alternate_system)]
    asked = [(code, system) for code, system in asked if code]
    panel = code_table(site).panel
    known = {(row.code, row.system): row.meaning for row in OrderedTest.objects.filter(site=site)}
    for code, system in asked:
        meaning = known.get((code, system)) or known.get((code, ""))
        if meaning is not None:
            return meaning
        if (code, system) == (panel.code, panel.scheme):
            return str(OrderedTest.Meaning.DIFFERENTIAL)
    return None


def earlier_messages(site: Site, header: Header) -> QuerySet[InboundMessage]:
    """Messages the sender sent under the same control id before."""
    return InboundMessage.objects.filter(
        site=site,
        sending_application=header.application,
        sending_facility=header.facility,
        control_id=header.control_id,
    ).order_by("pk")


def listed_messages(user: User, state: str = "", text: str = "") -> QuerySet[InboundMessage]:
    """Messages of the own sites: held ones in the order they came, others the newest first."""
    found = visible_to(user, InboundMessage).defer("raw").select_related("site")
    if state:
        found = found.filter(state=state)
    for word in text.split():
        found = found.filter(
            Q(control_id__istartswith=word)
            | Q(sending_application__istartswith=word)
            | Q(message_type__istartswith=word)
            | Q(orders__placer_number__istartswith=word)
            | Q(specimens__accession_number__istartswith=word)
        ).distinct()
    held = state == InboundMessage.State.HELD
    return found.order_by("received_at", "pk") if held else found.order_by("-received_at", "-pk")


def held_count() -> Coalesce:
    """How many messages of the outer query's site wait for a person."""
    held = InboundMessage.objects.filter(site=OuterRef("pk"), state=InboundMessage.State.HELD)
    counted = held.order_by().values("site").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)


def expected_orders(user: User, text: str = "") -> QuerySet[Order]:
    """Orders whose tube is still to come: STAT first, then the oldest."""
    found = visible_to(user, Order).filter(expected_since__isnull=False)
    for word in text.split():
        found = found.filter(
            Q(placer_number__istartswith=word)
            | Q(filler_number__istartswith=word)
            | Q(patient__identifier__istartswith=word)
            | Q(patient__family_name__istartswith=word)
            | Q(patient__family_name__startswith=word.capitalize())
            | Q(patient__given_name__istartswith=word)
        )
    stat_first = Case(
        When(priority=Priority.STAT, then=Value(0)), default=Value(1), output_field=IntegerField()
    )
    return found.select_related("patient", "site").order_by(stat_first, "expected_since", "pk")


def expected_order_by_scan(user: User, text: str) -> Order | None:
    """The one expected order whose placer or filler number was scanned."""
    orders = visible_to(user, Order).filter(expected_since__isnull=False)
    found = list(orders.filter(Q(placer_number=text) | Q(filler_number=text))[:2])
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class ShownLine:
    """One segment of a raw message as a page shows it: its name and its fields that say much."""

    name: str
    fields: tuple[tuple[int, str], ...]


def shown_lines(message: Message) -> list[ShownLine]:
    """The message field by field, unescaped, for people."""
    return [
        ShownLine(segment.name, tuple(_fields(segment.fields)))
        for segment in message.segments[:SHOWN_SEGMENTS]
    ]


def _fields(
    fields: Iterable[tuple[tuple[tuple[str, ...], ...], ...]],
) -> Iterable[tuple[int, str]]:
    for number, field in enumerate(fields, start=1):
        text = " ~ ".join(
            " ^ ".join(" & ".join(component) for component in repetition).rstrip(" ^")
            for repetition in field
        )
        if text.strip(" ~^&"):
            yield number, text[:2000]
