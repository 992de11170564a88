"""manage.py verify_images: lost files are an error, files without a row are listed."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from specimens.models import CellImage
from specimens.services.imaging import add_cell_images
from tests.factories import Cast, upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(cast: Cast, settings: Any) -> list[Path]:
    """The files of three images, the first with its thumbnail."""
    uploads = [upload(colour) for colour in range(3)]
    add_cell_images(
        actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=uploads
    )
    images = CellImage.objects.order_by("pk")
    found = [Path(settings.MEDIA_ROOT) / str(image.file.name) for image in images]
    found[0].with_name(found[0].name + ".thumb.jpg").write_bytes(b"small")
    return found


def _verify(*options: str) -> str:
    out = StringIO()
    call_command("verify_images", "--grace", "0", *options, stdout=out)
    return out.getvalue()


def test_all_is_well(files: list[Path]) -> None:
    assert _verify() == "Every row has its file. 0 files without a row.\n"


def test_a_missing_and_a_torn_file_are_lost(files: list[Path]) -> None:
    files[0].unlink()
    files[1].write_bytes(b"torn")
    out = StringIO()
    with pytest.raises(CommandError, match="2 files of accepted images are lost"):
        call_command("verify_images", stdout=out)
    assert f"{files[0].name} is not there" in out.getvalue()
    assert f"{files[1].name} has 4 bytes instead of" in out.getvalue()


def test_files_without_a_row_are_listed_and_removed_when_asked(files: list[Path]) -> None:
    left = files[0].with_name("left.png")
    thumbnail = files[0].with_name("left.png.3.thumb.jpg")
    torn = files[0].with_name(".incoming-abc")
    for path in (left, thumbnail, torn):
        path.write_bytes(b"left behind")
    said = _verify()
    assert "3 files without a row" in said
    assert said.count("no row: cells/") == 3
    assert left.exists()
    assert "0 files without a row" in _verify("--grace", "60"), "they may be on their way"
    assert "3 files without a row" in _verify("--remove")
    assert not left.exists()
    assert all(path.exists() for path in files)
    assert "0 files without a row" in _verify()
