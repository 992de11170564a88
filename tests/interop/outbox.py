"""What the tests of the outbox share: signed cases and destinations."""

from typing import Any

from django.contrib.auth.hashers import make_password

from classifier.models import ModelVersion
from specimens.models import Destination, Report, Site, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.review import Decision, review_cells
from specimens.services.signing import sign_out_report, start_amendment
from tests.factories import Cast
from tests.interop.receivers import SECRET, SECRET_ENV
from tests.portal.conftest import METADATA, Cells

PASSWORD = "correct horse"
# What a deliverer of the tests runs with: short pauses, and loopback allowed.
SETTINGS = {
    SECRET_ENV: SECRET,
    "WBCLAB_DELIVERY_ALLOWED_HOSTS": "127.0.0.1",
    "WBCLAB_DELIVERY_BACKOFF_SECONDS": "0.1",
    "WBCLAB_DELIVERY_BACKOFF_CAP_SECONDS": "0.5",
    "WBCLAB_LEASE_SECONDS": "2",
    "WBCLAB_SWEEP_SECONDS": "0.3",
}


def make_cells() -> Cells:
    version, _ = ModelVersion.objects.get_or_create(
        digest="d" * 64, defaults={"name": "dm-fnet", "version": "1.0", "metadata": METADATA}
    )
    return Cells(version)


def webhook(site: Site, address: str, **values: Any) -> Destination:
    values = {"name": f"Receiver {Destination.objects.count() + 1}"} | values
    return Destination.objects.create(
        site=site,
        kind="webhook",
        address=address,
        settings={"secret_env": SECRET_ENV, "timeout_seconds": 10},
        **values,
    )


def reviewed_case(cast: Cast, cells: Cells) -> Specimen:
    """Return a case of one reviewed cell, which the site lets sign."""
    Site.objects.filter(pk=cast.site.pk).update(target_cells=1)
    case = cast.specimen(state=Specimen.State.PRECLASSIFIED)
    cell = cells.classified(case, thumbnail=False)
    decisions = [Decision(cell.pk, "neutrophil", 0)]
    review_cells(actor=cast.technician, specimen=case, decisions=decisions)
    return case


def sign(actor: User, case: Specimen) -> Report:
    revision = case_of(Specimen.objects.get(pk=case.pk)).revision
    return sign_out_report(actor=actor, specimen=case, password=PASSWORD, seen_revision=revision)


def amend(actor: User, case: Specimen) -> Report:
    start_amendment(actor=actor, specimen=case, reason="Looked again.", password=PASSWORD)
    return sign(actor, case)


def cheap_passwords(cast: Cast) -> None:
    """Let each of a hundred signatures cost no Argon2."""
    User.objects.filter(pk=cast.pathologist.pk).update(password=make_password(PASSWORD))
    cast.pathologist.refresh_from_db()


def mllp(site: Site, address: str) -> Destination:
    return Destination.objects.create(
        site=site, kind="hl7", address=address, settings={"timeout_seconds": 10}, name="HIS"
    )
