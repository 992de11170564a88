"""The demo laboratory of `make run`: accounts, a token and a specimen of drawn cells."""

import io
import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from knox.models import AuthToken

from classifier.synthetic import draw_cells, save_jpeg
from specimens.models import CellImage, Role, Site, Specimen, User
from specimens.services.accessioning import OrderData, PatientData, accession_specimen
from specimens.services.imaging import add_cell_images
from specimens.services.tokens import create_token

ACCESSION_NUMBER: Final = "DEMO-0001"
CELLS: Final = {"Neutrophil": 58, "Lymphocyte": 28, "Monocyte": 7, "Eosinophil": 5, "Basophil": 2}
PEOPLE: Final = {
    Role.TECHNICIAN: ("technician", "Tess", "Nichols"),
    Role.PATHOLOGIST: ("pathologist", "Paula", "Thorne"),
    Role.ADMINISTRATOR: ("administrator", "Adam", "Stratton"),
}
INTEGRATION: Final = "integration"


def ensure_demo(*, path: Path, url: str) -> dict[str, Any]:
    """Create what is missing of the demo laboratory; return, and keep at `path`, how to enter it.

    Passwords and token are drawn at random, once per installation. Where `path` was lost they are
    drawn anew, since the database holds only their digests.
    """
    site, _ = Site.objects.get_or_create(code="demo", defaults={"name": "Demo laboratory"})
    known = json.loads(path.read_text()) if path.exists() else None
    entrance = known | {"url": url} if known else _create_accounts(site, url)
    _write_private(path, json.dumps(entrance, indent=2))
    specimen = _ensure_specimen(site)
    if not specimen.cell_images.exists():
        _add_drawn_cells(specimen)
    return entrance


@transaction.atomic
def _create_accounts(site: Site, url: str) -> dict[str, Any]:
    accounts = []
    for role, (username, given_name, family_name) in PEOPLE.items():
        password = secrets.token_urlsafe(9)
        user, _ = User.objects.update_or_create(
            username=username,
            defaults={
                "role": role,
                "first_name": given_name,
                "last_name": family_name,
                "is_staff": role == Role.ADMINISTRATOR,
                "is_superuser": role == Role.ADMINISTRATOR,
            },
        )
        user.set_password(password)
        user.save()
        user.sites.add(site)
        accounts.append({"role": str(role), "username": username, "password": password})
    system, _ = User.objects.get_or_create(
        username=INTEGRATION, defaults={"role": Role.INTEGRATION, "last_name": "Hospital system"}
    )
    system.set_unusable_password()
    system.save()
    system.sites.add(site)
    AuthToken.objects.filter(user=system).delete()
    lifetime = cast("timedelta", settings.REST_KNOX["TOKEN_TTL"])
    token, _ = create_token(actor=None, user=system, lifetime=lifetime)
    return {"url": url, "token": token, "accounts": accounts}


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    temporary.replace(path)


def _ensure_specimen(site: Site) -> Specimen:
    specimen = Specimen.objects.filter(site=site, accession_number=ACCESSION_NUMBER).first()
    return specimen or accession_specimen(
        actor=_technician(),
        site=site,
        accession_number=ACCESSION_NUMBER,
        patient=PatientData(identifier="DEMO-1", family_name="Synthetic", given_name="Sample"),
        order=OrderData(requester="Demo ward", clinical_information="Drawn cells, no patient."),
        is_synthetic=True,
    )


def _technician() -> User:
    return User.objects.get(username=PEOPLE[Role.TECHNICIAN][0])


def _add_drawn_cells(specimen: Specimen) -> None:
    uploads = []
    for number, (kind, image) in enumerate(draw_cells(seed=1, counts=CELLS), start=1):
        content = io.BytesIO()
        save_jpeg(image, content)
        name = f"synthetic-{number:03}-{kind.lower()}.jpg"
        uploads.append(SimpleUploadedFile(name, content.getvalue(), "image/jpeg"))
    add_cell_images(
        actor=_technician(),
        site=specimen.site,
        specimen=specimen,
        uploads=uploads,
        source=CellImage.Source.DEMO,
        is_synthetic=True,
    )
