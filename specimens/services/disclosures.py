"""What systems and people read by the interfaces stands in the audit trail, as on the pages."""

from collections import defaultdict
from collections.abc import Sequence

from django.db import transaction

from specimens.models import Order, Report, Site, Specimen, User
from specimens.permissions import Action, require
from specimens.services import audit


@transaction.atomic
def record_list(*, actor: User, rows: Sequence[Order] | Sequence[Specimen]) -> None:
    """Record that `actor` was given a list of orders or specimens: one event for each site."""
    require(actor, Action.EXCHANGE)
    by_site: dict[Site, list[int]] = defaultdict(list)
    for row in rows:
        by_site[row.site].append(row.pk)
    for site, ids in by_site.items():
        kind = rows[0]._meta.model_name
        audit.record(
            actor=actor,
            action=f"{kind}.listed",
            subject=site,
            site=site,
            details={f"{kind}s": ids},
        )


@transaction.atomic
def record_order_view(*, actor: User, order: Order) -> None:
    """Record that `actor` read an order, which names its patient."""
    require(actor, Action.EXCHANGE)
    audit.record(actor=actor, action="order.viewed", subject=order, site=order.site)


@transaction.atomic
def record_report_read(*, actor: User, report: Report, form: str) -> None:
    """Record that `actor` read a version of a report as json or pdf."""
    require(actor, Action.EXCHANGE)
    audit.record(
        actor=actor,
        action="report.viewed",
        subject=report,
        specimen=report.specimen,
        details={"version": report.version, "form": form},
    )
