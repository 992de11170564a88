"""To which specimen an object belongs: never a guess, and nothing is forgotten meanwhile."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from pydicom.dataset import Dataset

from classifier.imaging.source import Source
from specimens.dicom.attributes import Attributes, Identifier, read_attributes
from specimens.dicom.matching import Decision
from specimens.models import CellImage, DicomImport, DicomInstance, Job, Slide, Specimen
from specimens.selectors.dicom import candidates_for, decision_for
from specimens.services.accessioning import OrderData, PatientData, accession_specimen
from specimens.services.dicom_import import ImportOutcome, receive_instance
from tests.dicom.files import as_upload, instance, issuer, plain_cell, saved, specimen_description
from tests.factories import Cast, OrderFactory, PatientFactory
from tests.processes import wait_until

pytestmark = pytest.mark.core


def attributes_in(dataset: Dataset) -> Attributes:
    return read_attributes(Source(as_upload(dataset)))


class TestAttributes:
    def test_all_that_identify(self) -> None:
        dataset = instance(
            AccessionNumber="A1",
            IssuerOfAccessionNumberSequence=issuer("LAB"),
            ContainerIdentifier="C1",
            IssuerOfTheContainerIdentifierSequence=issuer("HOSPITAL"),
            SpecimenDescriptionSequence=specimen_description("S1", "LAB")
            + specimen_description("S2"),
            PatientID="P1",
            IssuerOfPatientID="MPI",
            PatientBirthDate="19700102",
        )
        found = attributes_in(dataset)
        assert (found.accession_number, found.accession_issuer) == ("A1", "LAB")
        assert (found.container_identifier, found.container_issuer) == ("C1", "HOSPITAL")
        assert found.specimens == (Identifier("S1", "LAB"), Identifier("S2"))
        assert (found.patient_id, found.patient_issuer) == ("P1", "MPI")
        assert Attributes.from_identifiers(found.identifiers()).specimens == found.specimens

    @pytest.mark.parametrize(
        ("character_set", "name"),
        [
            ("ISO_IR 100", "Müller^Jürgen"),
            ("ISO_IR 192", "Ωμέγα^Ιωάννης"),
            ("ISO_IR 144", "Жемчужина"),
            (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ],
    )
    def test_names_in_their_own_letters(self, character_set: Any, name: str) -> None:
        dataset = instance(SpecificCharacterSet=character_set, PatientName=name)
        assert attributes_in(dataset).patient_name == name

    def test_what_stands_elsewhere_in_the_object_does_not_count(self) -> None:
        other = Dataset()
        other.PatientID, other.AccessionNumber, other.SOPInstanceUID = "X", "X", "1.2"
        found = attributes_in(instance(PatientID="P1", ReferencedImageSequence=[other]))
        assert (found.patient_id, found.accession_number) == ("P1", "")


@pytest.fixture
def people(cast: Cast) -> dict[str, Specimen]:
    """A1 and A2 are of one patient, B1 of another, O1 of another site."""
    patient = PatientFactory.create(site=cast.site, identifier="P1", issuer="MPI")
    other = PatientFactory.create(site=cast.site, identifier="P2")

    def specimen(number: str, whose: Any) -> Specimen:
        order = OrderFactory.create(site=cast.site, patient=whose)
        return cast.specimen(accession_number=number, order=order)

    return {
        "A1": specimen("A1", patient),
        "A2": specimen("A2", patient),
        "B1": specimen("B1", other),
        "O1": cast.specimen(site=cast.other_site, accession_number="O1"),
    }


@pytest.mark.django_db
class TestDecision:
    @pytest.mark.parametrize(
        ("attributes", "state", "number"),
        [
            ({"accession_number": "A1"}, "matched", "A1"),
            ({"accession_number": "a1"}, "unmatched", None),
            ({"accession_number": "O1"}, "unmatched", None),
            ({"specimens": (Identifier("B1"),)}, "matched", "B1"),
            ({"container_identifier": "B1"}, "matched", "B1"),
            ({"container_identifier": "B1-2"}, "matched", "B1"),
            # A label that says nothing of its specimen.
            ({"container_identifier": "1"}, "unmatched", None),
            ({"patient_id": "P2"}, "matched", "B1"),
            # Two specimens of the patient: a person decides.
            ({"patient_id": "P1"}, "unmatched", None),
            ({"patient_id": "P2", "patient_issuer": "ELSEWHERE"}, "unmatched", None),
            # A number nobody knows is of another specimen than the one the patient has.
            ({"accession_number": "A9", "patient_id": "P2"}, "unmatched", None),
            ({"accession_number": "A9", "specimens": (Identifier("B1"),)}, "matched", "B1"),
            ({"accession_number": "A1", "patient_id": "P1"}, "matched", "A1"),
            ({"accession_number": "A1", "patient_id": "P2"}, "quarantined", "A1"),
            (
                {"accession_number": "A1", "patient_id": "P1", "patient_issuer": "ELSEWHERE"},
                "quarantined",
                "A1",
            ),
            # The patient has no issuer on record: the number alone decides.
            (
                {"accession_number": "B1", "patient_id": "P2", "patient_issuer": "ELSEWHERE"},
                "matched",
                "B1",
            ),
            ({"accession_number": "A1", "specimens": (Identifier("B1"),)}, "quarantined", None),
            ({"accession_number": "A1", "container_identifier": "B1"}, "quarantined", None),
            ({}, "unmatched", None),
        ],
    )
    def test_rules(
        self,
        attributes: dict[str, Any],
        state: str,
        number: str | None,
        cast: Cast,
        people: dict[str, Specimen],
    ) -> None:
        Slide.objects.create(specimen=people["B1"], label="B1-2")
        Slide.objects.create(specimen=people["A1"], label="1")
        decision = decision_for(cast.site, Attributes(**attributes))
        found = decision.candidate.accession_number if decision.candidate else None
        assert (decision.state, found) == (state, number), decision.reason
        assert bool(decision.reason) == (state != "matched")

    def test_a_number_of_another_issuer_is_not_ours(
        self, cast: Cast, people: dict[str, Specimen]
    ) -> None:
        theirs = Attributes(accession_number="A1", accession_issuer="RADIOLOGY")
        assert decision_for(cast.site, theirs).state == "matched"
        cast.site.accession_issuers = "LAB, HAEMATOLOGY"
        decision = decision_for(cast.site, theirs)
        assert (decision.state, "issuer" in decision.reason) == ("unmatched", True)
        ours = Attributes(accession_number="A1", accession_issuer="lab")
        assert decision_for(cast.site, ours).state == "matched"
        # The patient alone does not decide where a number is named, whoever issued it.
        both = Attributes(accession_number="B1", accession_issuer="X", patient_id="P2")
        assert decision_for(cast.site, both).state == "unmatched"

    def test_the_slide_is_noted(self, cast: Cast, people: dict[str, Specimen]) -> None:
        slide = Slide.objects.create(specimen=people["A2"], label="A2-1")
        decision: Decision = decision_for(
            cast.site, Attributes(accession_number="A2", container_identifier="A2-1")
        )
        assert decision.candidate is not None
        assert decision.candidate.slide_id == slide.pk


def receive(cast: Cast, path: Path, dataset: Dataset, **more: Any) -> ImportOutcome:
    values = {"actor": None, "site": cast.site, "sender": "PACS", "way": "c-store"} | more
    return receive_instance(path=saved(dataset, path / f"{dataset.SOPInstanceUID}.dcm"), **values)


def accession(cast: Cast, number: str, patient: str = "P1") -> Specimen:
    return accession_specimen(
        actor=cast.technician,
        site=cast.site,
        accession_number=number,
        patient=PatientData(identifier=patient, family_name="Musterfrau"),
        order=OrderData(),
    )


@pytest.mark.django_db
class TestLater:
    def test_a_later_accession_takes_what_waits_for_it(self, cast: Cast, tmp_path: Path) -> None:
        for attributes in (
            {"AccessionNumber": "A1"},
            {"SpecimenDescriptionSequence": specimen_description("A1")},
            {"ContainerIdentifier": "A1"},
            {"PatientID": "P1"},
        ):
            receive(cast, tmp_path, instance(**attributes))
        receive(cast, tmp_path, instance(AccessionNumber="A2"))
        specimen = accession(cast, "A1")
        assert CellImage.objects.filter(specimen=specimen).count() == 4
        assert Job.objects.count() == 4
        left = DicomInstance.objects.exclude(state="matched").get()
        assert left.identifiers["accession_number"] == "A2"
        specimen.refresh_from_db()
        assert specimen.state == Specimen.State.IMAGED

    def test_what_contradicts_the_accession_goes_on_waiting(
        self, cast: Cast, tmp_path: Path
    ) -> None:
        receive(cast, tmp_path, instance(AccessionNumber="A1", PatientID="somebody else"))
        accession(cast, "A1")
        assert not CellImage.objects.exists()
        assert DicomInstance.objects.get().state == "unmatched"

    def test_the_patient_alone_does_not_decide_for_a_second_specimen(
        self, cast: Cast, tmp_path: Path
    ) -> None:
        accession(cast, "A1")
        receive(cast, tmp_path, instance(AccessionNumber="A9", PatientID="P1"))
        accession(cast, "A2")
        assert not CellImage.objects.exists()

    def test_candidates_help_a_person(self, cast: Cast, tmp_path: Path) -> None:
        first = accession(cast, "A1")
        receive(cast, tmp_path, instance(AccessionNumber="A9", PatientID="P1"))
        assert candidates_for(DicomInstance.objects.get()) == [first]


def at_once(*calls: Any) -> list[Any]:
    """Run calls in threads that start together; their results, or what they raised."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            barrier.wait(30)
            results[place] = calls[place]()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def _somebody_waits_for_the_chain() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_the_same_instance_from_several_senders(self, cast: Cast, tmp_path: Path) -> None:
        cast.specimen(accession_number="A1")
        for round_ in range(5):
            dataset = instance(plain_cell(round_), AccessionNumber="A1")
            saved(dataset, tmp_path / "x.dcm")
            calls = [lambda d=dataset, n=n: self._send(cast, tmp_path, d, n) for n in range(4)]
            outcomes = at_once(*calls)
            assert sorted(one.state for one in outcomes) == ["duplicate"] * 3 + ["stored"], outcomes
            assert len({one.cell_image_ids for one in outcomes}) == 1
        assert (CellImage.objects.count(), Job.objects.count()) == (5, 5)
        assert DicomImport.objects.count() == 20

    def test_one_uid_with_two_contents(self, cast: Cast, tmp_path: Path) -> None:
        cast.specimen(accession_number="A1")
        one = instance(plain_cell(1), AccessionNumber="A1")
        other = instance(plain_cell(2), AccessionNumber="A1", uid=one.SOPInstanceUID)
        outcomes = at_once(
            lambda: self._send(cast, tmp_path, one, 1),
            lambda: self._send(cast, tmp_path, other, 2),
        )
        assert sorted(found.state for found in outcomes) == ["quarantined", "stored"]
        assert CellImage.objects.count() == 1

    def test_an_accession_beside_its_images(self, cast: Cast, tmp_path: Path) -> None:
        for number in range(8):
            name = f"R{number}"
            dataset = instance(plain_cell(number), AccessionNumber=name)
            specimen, outcome = at_once(
                lambda name=name: accession(cast, name),
                lambda d=dataset: self._send(cast, tmp_path, d, 0),
            )
            assert isinstance(specimen, Specimen), specimen
            assert isinstance(outcome, ImportOutcome), outcome
            # Whoever was first: the image is with its specimen, once.
            assert CellImage.objects.filter(specimen=specimen).count() == 1
        assert DicomInstance.objects.filter(state="matched").count() == 8

    def test_an_accession_that_commits_while_the_image_is_written(
        self, cast: Cast, tmp_path: Path
    ) -> None:
        dataset = instance(AccessionNumber="A1")
        outcomes: list[ImportOutcome] = []

        def send() -> None:
            try:
                outcomes.append(self._send(cast, tmp_path, dataset, 0))
            finally:
                connection.close()

        thread = threading.Thread(target=send)
        with transaction.atomic():
            specimen = accession(cast, "A1")
            thread.start()
            # It finds no specimen, writes its row, and waits for the chain that we hold.
            wait_until(_somebody_waits_for_the_chain, 30, "the import waits")
        thread.join(60)
        assert [one.state for one in outcomes] == ["stored"]
        assert outcomes[0].specimen_id == specimen.pk

    @staticmethod
    def _send(cast: Cast, folder: Path, dataset: Dataset, number: int) -> ImportOutcome:
        path = folder / f"{dataset.SOPInstanceUID}-{number}.dcm"
        return receive_instance(
            actor=None,
            site=cast.site,
            path=saved(dataset, path),
            sender=f"PACS{number}",
            way="c-store",
        )
