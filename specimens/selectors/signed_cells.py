"""The cells whose class a signature stands behind."""

from django.db.models import QuerySet

from specimens.models import CellImage, Site, Specimen, User
from specimens.permissions import visible_to

# A case that is being amended is open again: its labels may change.
SIGNED = (Specimen.State.SIGNED_OUT, Specimen.State.AMENDED)


def signed_cells(user: User, site: Site, *, with_drawn: bool = False) -> QuerySet[CellImage]:
    """Return the labelled cells of the signed cases of a site, as far as `user` may see them.

    Drawn cells of the demo are left out unless `with_drawn`: nobody should train on them.
    """
    cells = visible_to(user, CellImage).filter(site=site, specimen__state__in=SIGNED)
    if not with_drawn:
        cells = cells.filter(is_synthetic=False, specimen__is_synthetic=False)
    return cells.exclude(label="").order_by("specimen_id", "pk")
