"""What every page carries: the person's sites, the theme, and what needs somebody now."""

from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Subquery
from django.http import HttpRequest

from specimens.models import CellImage, Site, Specimen, User
from specimens.permissions import Action, can, visible_to
from specimens.selectors import clock
from specimens.selectors.deliveries import outbox_state
from specimens.selectors.dicom import waiting_count
from specimens.selectors.health import silence_limit
from specimens.selectors.inbound import held_count
from specimens.selectors.laboratory import last_heartbeat
from specimens.selectors.review_queue import waiting_cases
from specimens.selectors.worklist import failed_images

THEMES: Final = ("light", "dark")


def frame(request: HttpRequest) -> dict[str, Any]:
    """Context of the frame: five queries for a page, none for a fragment or without a person."""
    theme = request.COOKIES.get("theme", "")
    context: dict[str, Any] = {"theme": theme if theme in THEMES else ""}
    user = getattr(request, "user", None)
    if not isinstance(user, User) or getattr(request, "htmx", False):
        return context
    # Heartbeat and held messages ride on the query of the sites: needed exactly where they are.
    sites = list(
        visible_to(user, Site).annotate(
            worker_seen_at=Subquery(last_heartbeat().values("seen_at")[:1]),
            held_messages=held_count(),
        )
    )
    seen_at: datetime | None = sites[0].worker_seen_at if sites else None
    return context | {
        "idle_seconds": settings.SESSION_IDLE_SECONDS,
        "sites": sites,
        "failed_images": _failed_count(user),
        "worker_seen_at": seen_at,
        "worker_silent": bool(sites)
        and (seen_at is None or clock.now() - seen_at > silence_limit()),
        "outbox": outbox_state(user),
        "held_messages": sum(site.held_messages for site in sites),
        "may_accession": can(user, Action.ACCESSION),
        "may_review": can(user, Action.REVIEW),
        "waiting_reviews": waiting_cases(user).count() if can(user, Action.REVIEW) else 0,
        "waiting_dicom": waiting_count(user) if can(user, Action.ADD_IMAGES) else 0,
        "may_administer": can(user, Action.ADMINISTER),
    }


def _failed_count(user: User) -> int:
    images = visible_to(user, CellImage).filter(specimen__isnull=False)
    return failed_images(images).exclude(specimen__state=Specimen.State.REJECTED).count()
