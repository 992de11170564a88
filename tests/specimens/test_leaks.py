"""Who sees which rows: the exact ids of each model for each of the cast."""

from typing import Any, Final

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.models import Model
from django.utils import timezone

from classifier.models import ModelVersion
from specimens.models import (
    AuditEvent,
    CellImage,
    CodeMapping,
    Comment,
    Delivery,
    DeliveryAttempt,
    Destination,
    DicomFrame,
    DicomImport,
    DicomInstance,
    InboundMessage,
    Job,
    Order,
    OrderedTest,
    PacsServer,
    Patient,
    Prediction,
    Report,
    Review,
    Role,
    SecondRead,
    Site,
    Slide,
    Specimen,
    User,
)
from specimens.permissions import SITE_PATH, visible_to
from specimens.selectors.case import case_of
from specimens.services.review import Decision, add_comment, review_cells
from specimens.services.second_read import start_second_read
from specimens.services.signing import sign_out_report
from tests.dicom.waiting import waiting_instance
from tests.factories import Cast, SpecimenFactory, UserFactory
from tests.portal.conftest import METADATA, Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

OF_THE_SITE: Final = ("technician", "pathologist", "second_pathologist", "administrator")


def _whole_case(site: Site, cells: Cells, first: User, second: User) -> Specimen:
    """One of everything at a site: reviewed, commented, signed, read a second time."""
    site.target_cells = 1
    site.save()
    case: Specimen = SpecimenFactory.create(
        site=site, accessioned_by=first, state=Specimen.State.PRECLASSIFIED
    )
    Slide.objects.create(specimen=case, label="1")
    cell = cells.classified(case)
    review_cells(actor=first, specimen=case, decisions=[Decision(cell.pk, "neutrophil", 0)])
    add_comment(actor=first, specimen=case, text="Seen.")
    case.refresh_from_db()
    instance = waiting_instance(site)
    DicomImport.objects.create(site=site, instance=instance, outcome="unmatched", way="c-store")
    PacsServer.objects.create(site=site, name="PACS", host="pacs.invalid", ae_title="PACS")
    Destination.objects.create(site=site, name="LIS", kind="webhook", address="https://x.invalid")
    sign_out_report(
        actor=first,
        specimen=case,
        password="correct horse",
        seen_revision=case_of(case).revision,
    )
    DeliveryAttempt.objects.create(
        delivery=Delivery.objects.get(specimen=case),
        number=1,
        worker="w",
        started_at=timezone.now(),
    )
    InboundMessage.objects.create(
        site=site, raw=b"MSH", fingerprint="f", state="held", answer="AA", control_id="1"
    )
    OrderedTest.objects.create(site=site, code="DIFF")
    start_second_read(actor=second, specimen=case)
    CodeMapping.objects.create(
        site=site, quantity="panel", system="urn:own", code="DIFF", display="Differential"
    )
    return case


@pytest.fixture
def here_and_there(cast: Cast) -> tuple[Specimen, Specimen]:
    version = ModelVersion.objects.create(
        name="dm-fnet", version="1.0", digest="d" * 64, metadata=METADATA
    )
    cells = Cells(version)
    first, second = (
        UserFactory.create(role=Role.PATHOLOGIST, sites=[cast.other_site]) for _ in range(2)
    )
    here = _whole_case(cast.site, cells, cast.pathologist, cast.second_pathologist)
    return here, _whole_case(cast.other_site, cells, first, second)


def _ids_of(case: Specimen) -> dict[type[Model], set[Any]]:
    """What belongs to a case, found without the code under test."""
    cell = case.cell_images.get()
    return {
        AuditEvent: set(AuditEvent.objects.filter(specimen=case).values_list("pk", flat=True)),
        CellImage: {cell.pk},
        CodeMapping: {CodeMapping.objects.get(site=case.site).pk},
        Comment: {Comment.objects.get(specimen=case).pk},
        Delivery: {Delivery.objects.get(specimen=case).pk},
        DeliveryAttempt: {DeliveryAttempt.objects.get(delivery__specimen=case).pk},
        Destination: {Destination.objects.get(site=case.site).pk},
        DicomFrame: {DicomFrame.objects.get(instance__site=case.site).pk},
        DicomImport: {DicomImport.objects.get(site=case.site).pk},
        DicomInstance: {DicomInstance.objects.get(site=case.site).pk},
        InboundMessage: {InboundMessage.objects.get(site=case.site).pk},
        Job: {Job.objects.get(cell_image=cell).pk},
        Order: {case.order_id},
        OrderedTest: {OrderedTest.objects.get(site=case.site).pk},
        PacsServer: {PacsServer.objects.get(site=case.site).pk},
        Patient: {case.order.patient_id},
        Prediction: {Prediction.objects.get(cell_image=cell).pk},
        Report: {Report.objects.get(specimen=case).pk},
        Review: {Review.objects.get(cell_image=cell).pk},
        SecondRead: {SecondRead.objects.get(specimen=case).pk},
        Site: {case.site_id},
        Slide: {Slide.objects.get(specimen=case).pk},
        Specimen: {case.pk},
    }


@pytest.mark.parametrize("model", SITE_PATH, ids=lambda model: model.__name__)
def test_each_of_the_cast_sees_exactly_the_rows_of_the_own_site(
    model: type[Model], cast: Cast, here_and_there: tuple[Specimen, Specimen]
) -> None:
    here, there = (_ids_of(case)[model] for case in here_and_there)
    assert here
    assert not here & there

    def seen(user: Any) -> set[Any]:
        return set(visible_to(user, model).values_list("pk", flat=True))

    for name in (*OF_THE_SITE, "integration"):
        assert seen(getattr(cast, name)) == here, name
    assert seen(cast.outsider) == there
    assert seen(AnonymousUser()) == set()
    cast.technician.is_active = False
    assert seen(cast.technician) == set()
    cast.pathologist.sites.add(cast.other_site)
    assert seen(cast.pathologist) == here | there
    cast.outsider.sites.clear()
    assert seen(cast.outsider) == set()
