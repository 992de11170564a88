"""Reads of the DICOM network: who may call, what passed the listener, which archives there are."""

from typing import Final

from django.conf import settings
from django.db.models import Q, QuerySet

from specimens.models import AssociationLog, DicomImport, PacsServer, Site, User
from specimens.permissions import visible_to

EVERYBODY: Final = "*"


def peers() -> dict[str, str]:
    """Return site codes by calling AE title, as WBCLAB_DICOM_PEERS has them; "" is the usual site.

    Raises:
        ValueError: an entry is no AE title with or without `=SITE`.
    """
    found = {}
    for entry in settings.DICOM_PEERS:
        title, separator, code = (part.strip() for part in entry.rpartition("="))
        if not separator:
            title, code = code, ""
        if not title or len(title) > 16 or (separator and not code):
            raise ValueError(f"WBCLAB_DICOM_PEERS: {entry!r} is not TITLE or TITLE=SITE.")
        found[title] = code
    return found


def site_of_peer(calling_ae: str) -> Site | None:
    """Return the site that images of this calling AE title belong to; None where nothing says it.

    In this order: the title's own site, WBCLAB_DICOM_SITE, the only site there is.
    """
    named = peers()
    code = named.get(calling_ae, named.get(EVERYBODY, "")) or settings.DICOM_SITE
    if code:
        return Site.objects.filter(code=code).first()
    sites = list(Site.objects.exclude(code="public")[:2])
    return sites[0] if len(sites) == 1 else None


def recent_associations(limit: int, *, refused_only: bool = False) -> list[AssociationLog]:
    """The newest associations, or those that were refused or had an instance refused."""
    rows = AssociationLog.objects.all()
    if refused_only:
        rows = rows.filter(Q(state=AssociationLog.State.REFUSED) | Q(refused__gt=0))
    return list(rows[:limit])


def recent_imports(user: User, limit: int, *, refused_only: bool = False) -> list[DicomImport]:
    """The newest lines of the import log of the person's sites."""
    rows = visible_to(user, DicomImport).select_related("instance__specimen", "site")
    if refused_only:
        rows = rows.filter(outcome=DicomImport.Outcome.REFUSED)
    return list(rows.order_by("-at", "-pk")[:limit])


def pacs_servers(user: User, site: Site | None = None) -> QuerySet[PacsServer]:
    """The archives in use at the person's sites, or at one of them."""
    servers = visible_to(user, PacsServer).filter(active=True).select_related("site")
    return servers if site is None else servers.filter(site=site)
