"""Why a case needs attention: the site's rules, applied and kept for the review queue."""

from typing import Final

from specimens.models import Prediction, QueueRule, Specimen
from specimens.models.patients_orders import Priority
from specimens.reference import Flag
from specimens.selectors.case import Case, case_of

ALERTING: Final = ("blast", "erythroblast")
Kind = QueueRule.Kind


def refresh_flags(*, specimen: Specimen) -> list[dict[str, str]]:
    """Apply the rules of the site to the case as it stands; store and return the flags.

    Runs inside the transaction of whatever changed the case.
    """
    case = case_of(specimen)
    flags = [
        {"code": rule.kind, "text": text}
        for rule in rules_of(specimen)
        if (text := _finding(rule, case))
    ]
    if flags != specimen.review_flags:
        specimen.review_flags = flags
        specimen.save(update_fields=["review_flags"])
    return flags


def rules_of(specimen: Specimen) -> list[QueueRule]:
    """Return the rules in force: the site's own, and the common ones it does not replace."""
    rules = {rule.kind: rule for rule in QueueRule.objects.filter(site__isnull=True)}
    rules |= {rule.kind: rule for rule in QueueRule.objects.filter(site=specimen.site_id)}
    return [rules[kind] for kind in Kind.values if kind in rules and rules[kind].enabled]


def _finding(rule: QueueRule, case: Case) -> str:
    """Return what the rule found, in words; empty where it found nothing."""
    limit = rule.threshold or 0.0
    if rule.kind == Kind.STAT:
        return "STAT" if case.specimen.order.priority == Priority.STAT else ""
    if rule.kind == Kind.TOO_FEW_CELLS:
        counted = case.differential.counted
        return f"{counted} white cells of {limit:.0f}" if counted < limit else ""
    if rule.kind == Kind.OUT_OF_RANGE:
        outside = {v.key for v in case.judged if v.flag != Flag.NORMAL}
        return f"out of range: {', '.join(sorted(outside))}" if outside else ""
    if rule.kind == Kind.ALERTING_CLASS:
        seen = {cell.counts_as for cell in case.cells} & set(ALERTING)
        return f"{' and '.join(sorted(seen))} assigned" if seen else ""
    return _share(rule.kind, limit, case)


def _share(kind: str, limit: float, case: Case) -> str:
    """Share of cells with a reason of the machine to abstain, in per cent of all cells."""
    if not case.cells:
        return ""
    reasons = Prediction.objects.filter(cell_image__specimen=case.specimen).values_list(
        "reasons", flat=True
    )
    if kind == Kind.OOD_SHARE:
        number, words = sum("out_of_distribution" in r for r in reasons), "unlike the training data"
    else:
        number, words = sum(bool(r) for r in reasons), "abstained"
    share = 100 * number / len(case.cells)
    return f"{share:.0f} % {words}" if share > limit else ""
