"""Signing a case out, and opening a signed one again. A signed report is never changed."""

from collections.abc import Collection, Mapping
from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from specimens import workflow
from specimens.models import Report, Specimen, User
from specimens.models.reports import content_digest
from specimens.permissions import Action, require, require_second_factor
from specimens.selectors.case import Case, case_of
from specimens.selectors.report_content import report_content
from specimens.services import audit
from specimens.services.deliveries import enqueue_report
from specimens.services.errors import Conflict, GateClosed
from specimens.services.review import locked_case
from specimens.services.second_factor import is_enrolled

MEANING: Final = "I have reviewed every cell and approve this report."


@transaction.atomic
def sign_out_report(
    *,
    actor: User,
    specimen: Specimen,
    password: str,
    seen_revision: str,
    meaning: str = MEANING,
    bypass: Collection[str] = (),
    bypass_reason: str = "",
    acknowledged: Mapping[str, str] | None = None,
) -> Report:
    """Sign the case as it stands: the next version of its report.

    `seen_revision` is Case.revision of the page that was looked at; `bypass` names obstacles that
    are to be passed, with `bypass_reason`; `acknowledged` says, by class key, who was told of each
    critical value. Raises Conflict (signed or changed meanwhile), GateClosed, ValidationError
    (password, meaning, bypass without reason, critical value without acknowledgement).
    """
    require(actor, Action.SIGN_OUT)
    require_second_factor(actor, enrolled=is_enrolled(actor))
    if not actor.check_password(password):
        text = "The password is not right. Nothing was signed."
        raise ValidationError({"password": text})
    case = locked_case(actor, specimen)
    if case.state in (Specimen.State.SIGNED_OUT, Specimen.State.AMENDED):
        raise Conflict("The case is signed already; open its report to see by whom.")
    previous = case.reports.order_by("-version").first()
    act = workflow.Act.SIGN_AMENDMENT if previous else workflow.Act.SIGN_OUT
    state = workflow.after(act, case.state)
    facts = case_of(case)
    if facts.revision != seen_revision:
        raise Conflict("The case has changed since you looked at it. Look again, then sign.")
    bypassed = _pass_gate(facts, actor, bypass, bypass_reason)
    told = _acknowledged(facts, acknowledged or {})
    if not meaning.strip():
        raise ValidationError({"meaning": "Say what your signature means."})
    now = timezone.now()
    version = previous.version + 1 if previous else 1
    content = report_content(
        facts,
        version=version,
        signer=actor,
        signed_at=now,
        meaning=meaning,
        bypassed=bypassed,
        told=told,
    )
    report = Report(
        specimen=case,
        version=version,
        content=content,
        sha256=content_digest(content),
        signed_by=actor,
        signer_name=actor.display_name,
        signed_at=now,
        meaning=meaning.strip(),
        amendment_reason=case.amendment_reason,
    )
    report.full_clean(exclude=["specimen", "signed_by"])
    report.save(force_insert=True)
    case.state, case.amendment_reason = state, ""
    case.save(update_fields=["state", "amendment_reason"])
    enqueue_report(report=report)
    _record(actor, case, report, bypassed, told)
    return report


def _pass_gate(
    facts: Case, actor: User, bypass: Collection[str], reason: str
) -> list[dict[str, str]]:
    """Return the bypassed obstacles as they are recorded, or raise GateClosed."""
    obstacles = workflow.sign_obstacles(facts.facts(actor))
    closed = [o for o in obstacles if not (o.bypassable and o.code in bypass)]
    if closed:
        raise GateClosed(closed)
    if not obstacles:
        return []
    require(actor, Action.BYPASS_GATE)
    if not reason.strip():
        raise ValidationError({"bypass_reason": "Say why the gate is bypassed."})
    return [{"code": o.code, "text": o.text, "reason": reason.strip()} for o in obstacles]


def _acknowledged(facts: Case, acknowledged: Mapping[str, str]) -> dict[str, str]:
    told = {key: text.strip() for key, text in acknowledged.items() if text.strip()}
    missing = sorted({value.key for value in facts.critical} - told.keys())
    if missing:
        raise ValidationError(
            {"acknowledged": f"Critical values: say who was told of {', '.join(missing)}."}
        )
    return {value.key: told[value.key] for value in facts.critical}


def _record(
    actor: User,
    case: Specimen,
    report: Report,
    bypassed: list[dict[str, str]],
    told: Mapping[str, str],
) -> None:
    for passed in bypassed:
        audit.record(
            actor=actor, action="gate.bypassed", subject=case, specimen=case, details=passed
        )
    audit.record(
        actor=actor,
        action="report.amended" if report.version > 1 else "report.signed",
        subject=report,
        specimen=case,
        details={
            "version": report.version,
            "meaning": report.meaning,
            "sha256": report.sha256,
            "critical_values_told": dict(told),
        },
    )


@transaction.atomic
def start_amendment(*, actor: User, specimen: Specimen, reason: str, password: str) -> Specimen:
    """Open a signed case again. The signed version stays, and stays readable, as it is."""
    require(actor, Action.AMEND)
    require_second_factor(actor, enrolled=is_enrolled(actor))
    if not actor.check_password(password):
        text = "The password is not right. Nothing was changed."
        raise ValidationError({"password": text})
    if not reason.strip():
        raise ValidationError({"reason": "Say why the report is amended."})
    case = locked_case(actor, specimen)
    case.state = workflow.after(workflow.Act.START_AMENDMENT, case.state)
    case.amendment_reason = reason.strip()
    case.save(update_fields=["state", "amendment_reason"])
    audit.record(
        actor=actor,
        action="report.amendment_started",
        subject=case,
        specimen=case,
        details={"reason": reason.strip()},
    )
    return case
