"""The sign gate, the signature and the amendment, by the services behind page and API."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, connection, transaction

from classifier.models import ModelVersion
from specimens.models import AuditEvent, CellImage, Prediction, Report, Specimen, User
from specimens.models.reports import content_digest
from specimens.selectors.case import case_of
from specimens.services.errors import Conflict, GateClosed, StaleReview
from specimens.services.review import Decision, review_cells
from specimens.services.signing import sign_out_report, start_amendment
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

PASSWORD = "correct horse"


@pytest.fixture
def case(cast: Cast) -> Specimen:
    """A preclassified case of four cells at a site that asks for four: N, N, L, unidentified."""
    cast.site.target_cells = 4
    cast.site.save()
    version = ModelVersion.objects.create(name="dmfnet", version="1", digest="0", metadata={})
    specimen = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    for number, decision in enumerate(["Neutrophil", "Neutrophil", "Lymphocyte", "Unidentified"]):
        image = CellImage.objects.create(
            site=cast.site, specimen=specimen, file=f"{number}.png", sha256=str(number),
            filename="x", media_type="image/png", size=1, source="demo",
        )  # fmt: skip
        Prediction.objects.create(
            cell_image=image, model_version=version, predicted_class="Neutrophil",
            decision=decision, confidence=0.9, probabilities=[0, 0, 0, 0, 1], ood_score=0.1,
            embedding=b"", explanation=b"", engine="onnxruntime", milliseconds=1,
        )  # fmt: skip
    return specimen


def _label_all(actor: User, case: Specimen, unidentified_as: str = "monocyte") -> None:
    decisions = [
        Decision(
            c.pk, unidentified_as if c.counts_as == "unidentified" else c.counts_as, c.revision
        )
        for c in case_of(case).cells
    ]
    review_cells(actor=actor, specimen=case, decisions=decisions)


def _sign(actor: User, case: Specimen, **values: Any) -> Report:
    given: dict[str, Any] = {
        "actor": actor,
        "specimen": case,
        "password": PASSWORD,
        "seen_revision": case_of(Specimen.objects.get(pk=case.pk)).revision,
    }
    return sign_out_report(**(given | values))


def test_a_reviewed_case_is_signed_and_its_content_frozen(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case)
    report = _sign(cast.pathologist, case)
    case.refresh_from_db()
    assert case.state == Specimen.State.SIGNED_OUT
    assert report.sha256 == content_digest(Report.objects.get().content)
    rows = {row["key"]: row["percent"] for row in report.content["differential"]}
    assert rows["neutrophil"] == "50.0"
    assert rows["monocyte"] == "25.0"
    assert AuditEvent.objects.filter(action="report.signed").count() == 1


def test_the_gate_names_every_obstacle(cast: Cast, case: Specimen) -> None:
    first = case_of(case).cells[0]
    review_cells(
        actor=cast.technician,
        specimen=case,
        decisions=[Decision(first.pk, "erythroblast", 0)],
    )
    with pytest.raises(GateClosed) as caught:
        _sign(cast.pathologist, case)
    codes = [obstacle.code for obstacle in caught.value.obstacles]
    assert codes == ["unidentified", "unreviewed", "too_few_cells"]
    assert "count 2 more" in str(caught.value)


def test_a_bypass_needs_a_reason_and_leaves_an_audit_row(cast: Cast, case: Specimen) -> None:
    cast.site.target_cells = 200
    cast.site.save()
    _label_all(cast.technician, case)
    with pytest.raises(ValidationError, match="bypass_reason"):
        _sign(cast.pathologist, case, bypass=["too_few_cells"])
    report = _sign(
        cast.pathologist,
        case,
        bypass=["too_few_cells"],
        bypass_reason="leukopenia, smear exhausted",
    )
    (event,) = AuditEvent.objects.filter(action="gate.bypassed")
    assert event.details["reason"] == "leukopenia, smear exhausted"
    assert report.content["bypassed"][0]["code"] == "too_few_cells"


def test_unidentified_cells_cannot_be_bypassed(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case, unidentified_as="unidentified")
    with pytest.raises(GateClosed, match="unidentified"):
        _sign(cast.pathologist, case, bypass=["unidentified", "too_few_cells"], bypass_reason="x")


def test_four_eyes(cast: Cast, case: Specimen) -> None:
    cast.site.four_eyes = True
    cast.site.save()
    _label_all(cast.pathologist, case)
    with pytest.raises(GateClosed, match="You alone"):
        _sign(cast.pathologist, case)
    assert _sign(cast.second_pathologist, case).version == 1


def test_who_may_sign(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case)
    with pytest.raises(PermissionDenied):
        _sign(cast.technician, case)
    with pytest.raises(ValidationError, match="password"):
        _sign(cast.pathologist, case, password="wrong")
    assert not Report.objects.exists()


def test_the_second_signature_and_a_changed_case_are_conflicts(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case)
    seen = case_of(Specimen.objects.get(pk=case.pk)).revision
    cell = case_of(case).cells[0]
    review_cells(
        actor=cast.technician, specimen=case, decisions=[Decision(cell.pk, "blast", cell.revision)]
    )
    with pytest.raises(Conflict, match="changed since"):
        _sign(cast.pathologist, case, seen_revision=seen)
    _sign(cast.pathologist, case, acknowledged={"blast": "Dr Ward, 12:40, by telephone"})
    with pytest.raises(Conflict, match="signed already"):
        _sign(cast.second_pathologist, case)
    assert Report.objects.count() == 1


def test_a_critical_value_needs_an_acknowledgement(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case, unidentified_as="blast")
    with pytest.raises(ValidationError, match="who was told of blast"):
        _sign(cast.pathologist, case)
    report = _sign(cast.pathologist, case, acknowledged={"blast": "Dr Ward, 12:40"})
    assert report.content["critical_values_told"] == {"blast": "Dr Ward, 12:40"}


def test_an_amendment_is_a_new_version_and_the_old_one_stays(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case)
    first = _sign(cast.pathologist, case)
    start_amendment(actor=cast.pathologist, specimen=case, reason="second look", password=PASSWORD)
    cell = case_of(case).cells[0]
    review_cells(
        actor=cast.pathologist,
        specimen=case,
        decisions=[Decision(cell.pk, "eosinophil", cell.revision)],
    )
    second = _sign(cast.pathologist, case)
    case.refresh_from_db()
    assert case.state == Specimen.State.AMENDED
    assert (second.version, second.amendment_reason) == (2, "second look")
    assert Report.objects.get(pk=first.pk).content == first.content


@pytest.mark.parametrize(
    "statement", ["UPDATE specimens_report SET meaning = 'x'", "DELETE FROM specimens_report"]
)
def test_the_database_refuses_to_change_a_report(
    cast: Cast, case: Specimen, statement: str
) -> None:
    _label_all(cast.technician, case)
    _sign(cast.pathologist, case)
    with (
        pytest.raises(DatabaseError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_a_stale_review_changes_nothing_and_says_what_is_there(cast: Cast, case: Specimen) -> None:
    first, second = case_of(case).cells[:2]
    review_cells(
        actor=cast.technician, specimen=case, decisions=[Decision(first.pk, "monocyte", 0)]
    )
    with pytest.raises(StaleReview) as caught:
        review_cells(
            actor=cast.pathologist,
            specimen=case,
            decisions=[Decision(first.pk, "blast", 0), Decision(second.pk, "blast", 0)],
        )
    assert caught.value.current[first.pk]["label"] == "monocyte"
    assert not CellImage.objects.filter(label="blast").exists()


def test_flags_bring_the_case_up(cast: Cast, case: Specimen) -> None:
    _label_all(cast.technician, case, unidentified_as="blast")
    case.refresh_from_db()
    codes = {flag["code"] for flag in case.review_flags}
    assert {"alerting_class", "too_few_cells", "out_of_range"} <= codes
