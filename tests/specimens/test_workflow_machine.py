"""Random people doing random things to a few cases: the rules hold whatever the order.

Never a state outside the table, never a lost review, never a signature past the gate without its
bypasses in the audit trail; and at the end the chain of the trail is whole.
"""

from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from classifier.classes import ALL_CLASSES, CELL_CLASSES
from classifier.models import ModelVersion
from specimens.audit_chain import verify_chain
from specimens.models import (
    AuditEvent,
    CellImage,
    Job,
    Prediction,
    Report,
    Review,
    Specimen,
    User,
)
from specimens.models.reports import content_digest
from specimens.selectors.audit import chain_lines
from specimens.selectors.case import case_of
from specimens.services.accessioning import (
    OrderData,
    PatientData,
    accession_specimen,
    reject_specimen,
)
from specimens.services.errors import Conflict, GateClosed
from specimens.services.queue_entry import requeue_cell_images
from specimens.services.queue_exit import finish_specimens
from specimens.services.review import Decision, add_comment, review_cells
from specimens.services.signing import sign_out_report, start_amendment
from specimens.workflow import TRANSITIONS, Act, NotAllowedInState, after, sign_obstacles
from tests.factories import make_cast

pytestmark = [pytest.mark.core, pytest.mark.django_db, pytest.mark.slow]

PASSWORD = "correct horse"
REFUSALS = (
    Conflict, GateClosed, NotAllowedInState, PermissionDenied, ValidationError,
    ObjectDoesNotExist,
)  # fmt: skip
PEOPLE = ("technician", "pathologist", "second_pathologist", "administrator", "integration",
          "outsider")  # fmt: skip
# Whoever may do most of it comes up most often, so that cases come far.
actors = st.sampled_from(PEOPLE + ("technician", "pathologist", "second_pathologist") * 3)
positions = st.integers(0, 5)
labels = st.sampled_from([c.key for c in ALL_CLASSES] + ["neutrophil"] * 6 + [""])


class Laboratory(RuleBasedStateMachine):
    """Holds what was seen of each case, and compares it with the database after every step."""

    def __init__(self) -> None:
        super().__init__()
        # Each run in a transaction of its own, which is rolled back.
        self._run = transaction.atomic()
        self._run.__enter__()
        self.cast = make_cast()
        self.cast.site.target_cells = 2
        self.cast.site.save()
        self.version = ModelVersion.objects.create(name="m", version="1", digest="0", metadata={})
        self.states: dict[int, str] = {}
        self.reviews = 0
        self.reports: dict[int, str] = {}
        self.images = 0

    def _case(self, position: int) -> Specimen:
        pk = list(self.states)[position % len(self.states)]
        return Specimen.objects.select_related("site", "order__patient").get(pk=pk)

    def _try(self, act: Act | None, case: Specimen | None, call: Any) -> Any:
        """Do it; a success must be a transition of the table, a refusal must change nothing."""
        before = AuditEvent.objects.count()
        try:
            result = call()
        except REFUSALS:
            assert AuditEvent.objects.count() == before
            return None
        if act is not None and case is not None:
            expected = self._leads_to(act, case)
            case.refresh_from_db()
            assert case.state == expected, f"{act} led to {case.state}, not to {expected}"
            self.states[case.pk] = case.state
        return result

    def _leads_to(self, act: Act, case: Specimen) -> str:
        if act == Act.SIGN_OUT and case.reports.count() > 1:
            act = Act.SIGN_AMENDMENT
        return after(act, self.states[case.pk])

    @rule(actor=actors, number=st.integers(0, 3))
    def accession(self, actor: str, number: int) -> None:
        case = self._try(
            None,
            None,
            lambda: accession_specimen(
                actor=getattr(self.cast, actor),
                site=self.cast.site,
                accession_number=f"A{number}",
                patient=PatientData(identifier=f"P{number}", family_name="Muster"),
                order=OrderData(),
            ),
        )
        if case is not None:
            self.states[case.pk] = case.state

    @precondition(lambda self: self.states)
    @rule(position=positions, decision=st.sampled_from((*CELL_CLASSES, "Unidentified", None)))
    def add_an_image(self, position: int, decision: str | None) -> None:
        """A picture comes in and is classified, or fails (None): the rows a worker would write."""
        case = self._case(position)
        if self.states[case.pk] not in TRANSITIONS[Act.ADD_IMAGES]:
            return
        self.images += 1
        image = CellImage.objects.create(
            site=case.site, specimen=case, file=f"{self.images}.png", sha256=f"{self.images}",
            filename="x", media_type="image/png", size=1, source="demo",
        )  # fmt: skip
        state = Job.State.DONE if decision else Job.State.FAILED
        Job.objects.create(cell_image=image, site=image.site, specimen=image.specimen, state=state)
        if decision:
            Prediction.objects.create(
                cell_image=image, model_version=self.version, predicted_class="Neutrophil",
                decision=decision, confidence=0.9, probabilities=[0, 0, 0, 0, 1], ood_score=0.1,
                embedding=b"", explanation=b"", engine="onnx", milliseconds=1,
            )  # fmt: skip
        case.state = after(Act.ADD_IMAGES, case.state)
        case.save(update_fields=["state"])
        self.states[case.pk] = case.state

    @precondition(lambda self: self.states)
    @rule(position=positions)
    def finish_classification(self, position: int) -> None:
        case = self._case(position)
        images = list(case.cell_images.all())
        Job.objects.filter(cell_image__in=images, state=Job.State.QUEUED).update(
            state=Job.State.FAILED
        )
        finish_specimens(specimen_ids=[case.pk])
        before = self.states[case.pk]
        case.refresh_from_db()
        finished = TRANSITIONS[Act.FINISH_CLASSIFICATION]
        expected = finished.get(before, before) if images else before  # type: ignore[call-overload]
        assert case.state == expected
        self.states[case.pk] = case.state

    @precondition(lambda self: self.states)
    @rule(actor=actors, position=positions, label=labels, stale=st.booleans())
    def review(self, actor: str, position: int, label: str, stale: bool) -> None:
        """Confirm every cell, the first of them as `label`; or from a page that is out of date."""
        case = self._case(position)
        cells = case_of(case).cells
        decisions = [
            Decision(
                cell.pk,
                label if number == 0 else cell.counts_as.replace("unidentified", "monocyte"),
                cell.revision + (1 if stale else 0),
            )
            for number, cell in enumerate(cells)
        ]
        done = self._try(
            Act.REVIEW,
            case,
            lambda: review_cells(
                actor=getattr(self.cast, actor), specimen=case, decisions=decisions
            ),
        )
        if done is not None:
            assert not stale
            self.reviews += len(decisions)

    @precondition(lambda self: self.states)
    @rule(actor=actors, position=positions)
    def requeue(self, actor: str, position: int) -> None:
        case = self._case(position)
        waiting = self._try(
            None,
            None,
            lambda: requeue_cell_images(actor=getattr(self.cast, actor), specimen=case),
        )
        if waiting is not None:
            before = self.states[case.pk]
            case.refresh_from_db()
            assert case.state == (after(Act.REQUEUE, before) if waiting else before)
            self.states[case.pk] = case.state

    @precondition(lambda self: self.states)
    @rule(actor=actors, position=positions)
    def reject(self, actor: str, position: int) -> None:
        case = self._case(position)
        # Seldom enough that some cases get further.
        if position == 0:
            self._try(
                Act.REJECT,
                case,
                lambda: reject_specimen(
                    actor=getattr(self.cast, actor), specimen=case, reason="clotted"
                ),
            )

    @precondition(lambda self: self.states)
    @rule(actor=actors, position=positions, on_report=st.booleans())
    def comment(self, actor: str, position: int, on_report: bool) -> None:
        case = self._case(position)
        person: User = getattr(self.cast, actor)
        self._try(
            None,
            None,
            lambda: add_comment(actor=person, specimen=case, text="Seen.", on_report=on_report),
        )

    @precondition(lambda self: self.states)
    @rule(
        actor=actors,
        position=positions,
        bypass=st.sets(st.sampled_from(["failed", "unreviewed", "too_few_cells", "unidentified"])),
        reason=st.sampled_from(["", "leukopenia"]),
        right=st.booleans() | st.just(True),
    )
    def sign(self, actor: str, position: int, bypass: set[str], reason: str, right: bool) -> None:
        case = self._case(position)
        person: User = getattr(self.cast, actor)
        facts = case_of(case)
        closed = {one.code for one in sign_obstacles(facts.facts(person))}
        bypasses = AuditEvent.objects.filter(action="gate.bypassed").count()
        report = self._try(
            Act.SIGN_OUT,
            case,
            lambda: sign_out_report(
                actor=person,
                specimen=case,
                password=PASSWORD if right else "wrong",
                seen_revision=facts.revision,
                bypass=bypass,
                bypass_reason=reason,
                acknowledged={value.key: "Dr Ward" for value in facts.critical},
            ),
        )
        if report is None:
            return
        assert right
        assert closed <= bypass - {"unidentified"}, "signed past a closed gate"
        new = AuditEvent.objects.filter(action="gate.bypassed").count() - bypasses
        assert new == len(closed) == len(report.content["bypassed"])
        self.reports[report.pk] = report.sha256

    @precondition(lambda self: self.states)
    @rule(actor=actors, position=positions)
    def amend(self, actor: str, position: int) -> None:
        case = self._case(position)
        self._try(
            Act.START_AMENDMENT,
            case,
            lambda: start_amendment(
                actor=getattr(self.cast, actor), specimen=case, reason="again", password=PASSWORD
            ),
        )

    @invariant()
    def no_state_outside_the_table(self) -> None:
        assert dict(Specimen.objects.values_list("pk", "state")) == self.states

    @invariant()
    def no_review_is_lost(self) -> None:
        assert Review.objects.count() == self.reviews
        for image in CellImage.objects.all():
            newest = image.reviews.order_by("-revision").first()
            assert image.label == (newest.label if newest else "")
            assert image.revision == image.reviews.count()

    @invariant()
    def no_report_changes(self) -> None:
        found = {report.pk: content_digest(report.content) for report in Report.objects.all()}
        assert found == self.reports

    def teardown(self) -> None:
        try:
            verdict = verify_chain(chain_lines())
            assert verdict.fault is None
            assert verdict.events == AuditEvent.objects.count()
        finally:
            transaction.set_rollback(True)
            self._run.__exit__(None, None, None)


def test_random_people_cannot_break_the_rules(db: None) -> None:
    run_state_machine_as_test(
        Laboratory,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
