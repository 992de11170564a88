"""Old images: archived and readable again, under a hold, removed; never those of open cases."""

import io
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.test import Client, TestCase

from specimens.models import AuditEvent, CellImage, ImageCustody, OperationRun, Specimen
from specimens.services import image_files
from specimens.services.image_files import readable_path, shrink_cache
from specimens.services.signing import start_amendment
from tests.factories import Cast, picture
from tests.interop.outbox import PASSWORD, make_cells, reviewed_case, sign
from tests.portal.conftest import Cells

SMALL: Final = picture(5, format="JPEG")
pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture
def cells(db: None) -> Cells:
    return make_cells()


@pytest.fixture
def archive(tmp_path: Path, settings: Any) -> Path:
    folder = tmp_path / "archive"
    settings.IMAGE_CACHE_DIR = tmp_path / "cache"
    settings.STORAGES = settings.STORAGES | {
        "archive": {
            "BACKEND": "specimens.services.storage.DurableStorage",
            "OPTIONS": {"location": str(folder)},
        }
    }
    return folder


def signed_case(cast: Cast, cells: Cells) -> tuple[Specimen, str]:
    """A case of one cell with its thumbnail, signed; and the name of its file."""
    case = reviewed_case(cast, cells)
    image = case.cell_images.get()
    default_storage.save(image.thumbnail_name, ContentFile(SMALL))
    sign(cast.pathologist, case)
    return Specimen.objects.get(pk=case.pk), str(image.file.name)


def lies_here(name: str) -> bool:
    return Path(default_storage.path(name)).exists()


def run(command: str, **options: Any) -> str:
    out = io.StringIO()
    with TestCase.captureOnCommitCallbacks(execute=True):
        call_command(command, stdout=out, **options)
    return out.getvalue()


def test_an_archived_image_is_read_as_before(
    cast: Cast, cells: Cells, archive: Path, client: Client
) -> None:
    case, name = signed_case(cast, cells)
    _, waiting = reviewed_case(cast, cells), CellImage.objects.latest("pk").file.name
    opened, again = signed_case(cast, cells)
    start_amendment(
        actor=cast.pathologist, specimen=opened, reason="Another look.", password=PASSWORD
    )
    content = Path(default_storage.path(name)).read_bytes()
    assert run("archive_images", older_than=1).startswith("0 cases")
    assert run("archive_images", older_than=0).startswith("1 cases, 1 files")
    assert (lies_here(name), (archive / name).read_bytes()) == (False, content)
    assert lies_here(str(waiting)) and lies_here(again)
    client.force_login(cast.technician)
    cell = case.cell_images.get()
    assert client.get(f"/cells/{cell.pk}/image").content == content
    assert client.get(f"/cells/{cell.pk}/thumbnail").content == SMALL
    assert readable_path(name).read_bytes() == content
    assert ImageCustody.objects.get().archived_at
    assert AuditEvent.objects.latest("sequence").details == {"files": 1, "bytes": len(content)}
    assert OperationRun.objects.filter(operation="archive").latest("pk").ok
    assert run("archive_images", older_than=0).startswith("0 cases")


def test_what_the_archive_gives_back_wrong_stays_where_it_is(
    cast: Cast, cells: Cells, archive: Path
) -> None:
    _, name = signed_case(cast, cells)
    (archive / name).parent.mkdir(parents=True)
    (archive / name).write_bytes(b"something else")
    with pytest.raises(CommandError, match="Nothing is lost"):
        run("archive_images", older_than=0)
    assert lies_here(name)
    assert not OperationRun.objects.get(operation="archive").ok


def test_without_an_archive_it_says_what_to_set(db: None) -> None:
    with pytest.raises(CommandError, match="WBCLAB_ARCHIVE_DIR"):
        run("archive_images", older_than=0)


def test_retention_removes_images_and_nothing_else(
    cast: Cast, cells: Cells, archive: Path, settings: Any, client: Client
) -> None:
    case, name = signed_case(cast, cells)
    held, kept = signed_case(cast, cells)
    reviewed_case(cast, cells)
    waiting = CellImage.objects.latest("pk").file.name
    call_command("legal_hold", held.accession_number, site="main", actor="administrator",
                 reason="Claim 7", stdout=io.StringIO())  # fmt: skip
    settings.RETENTION = {"other": {"images_days": 1}}
    assert run("apply_retention", remove=True).startswith("0 cases")
    settings.RETENTION = {"*": {"images_days": 30}}
    assert run("apply_retention", remove=True).startswith("0 cases")
    settings.RETENTION = {"*": {"images_days": 0}}
    assert "1 cases, 1 files to remove" in run("apply_retention")
    assert lies_here(name) and not ImageCustody.objects.filter(specimen=case).exists()
    assert "1 cases, 1 files removed" in run("apply_retention", remove=True)
    assert (lies_here(name), lies_here(kept), lies_here(str(waiting))) == (False, True, True)
    cell = case.cell_images.get()
    client.force_login(cast.technician)
    assert client.get(f"/cells/{cell.pk}/image").status_code == 404
    assert client.get(f"/reports/{case.reports.get().pk}.pdf").status_code == 200
    event = AuditEvent.objects.get(action="specimen.images_removed")
    assert (event.specimen, event.details["files"]) == (case, 1)
    call_command("legal_hold", held.accession_number, site="main", actor="administrator",
                 lift=True, stdout=io.StringIO())  # fmt: skip
    assert "1 cases, 1 files removed" in run("apply_retention", remove=True)


def test_a_hold_is_an_administrators(cast: Cast, cells: Cells) -> None:
    case, _ = signed_case(cast, cells)
    for who in ("technician", "outsider"):
        with pytest.raises(CommandError):
            call_command("legal_hold", case.accession_number, site="main", actor=who, reason="x")


def test_the_cache_keeps_its_bound_and_what_was_just_fetched(
    cast: Cast, cells: Cells, archive: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [signed_case(cast, cells)[1] for _ in range(3)]
    run("archive_images", older_than=0)
    paths = [readable_path(name) for name in names]
    settings.IMAGE_CACHE_MB = 0
    assert shrink_cache() == 0
    monkeypatch.setattr(image_files, "_IN_USE_SECONDS", -1)
    assert shrink_cache() == 3
    assert not any(path.exists() for path in paths)
    assert readable_path(names[0]).exists()
    assert not readable_path("cells/nowhere.png").exists()
