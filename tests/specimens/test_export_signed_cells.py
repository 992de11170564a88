"""`manage.py export_signed_cells`: only what is signed, only one's own site, pixels alone."""

import csv
import io
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from PIL import Image

from classifier.evaluation.labelled import read_labelled
from classifier.synthetic import draw_cell
from specimens.models import AuditEvent, CellImage, Specimen
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]


def _cell(specimen: Specimen, number: int, label: str, content: bytes = b"") -> CellImage:
    if not content:
        out = io.BytesIO()
        image = draw_cell("Neutrophil", number, 64)
        exif = Image.Exif()
        exif[0x010E] = "Erika Musterfrau"
        image.save(out, "JPEG", exif=exif, comment="Erika Musterfrau")
        content = out.getvalue()
    cell = CellImage(
        site=specimen.site, specimen=specimen, sha256=f"{specimen.pk}-{number}", label=label,
        filename=f"Musterfrau {number}.jpg", media_type="image/jpeg", size=1, source="browser",
    )  # fmt: skip
    cell.file.save("x.jpg", ContentFile(content), save=False)
    cell.save()
    return cell


@pytest.fixture
def signed(cast: Cast) -> Specimen:
    specimen = cast.specimen(state=Specimen.State.SIGNED_OUT)
    for number, label in enumerate(["neutrophil", "neutrophil", "band_neutrophil", "blast", ""]):
        _cell(specimen, number, label)
    return specimen


def export(output: Path, **options: Any) -> str:
    out = StringIO()
    given = {"site": "main", "user": "administrator"} | options
    call_command("export_signed_cells", output=output, stdout=out, stderr=out, **given)
    return out.getvalue()


def test_signed_cells_by_class_without_a_name(cast: Cast, signed: Specimen, tmp_path: Path) -> None:
    open_case = cast.specimen(state=Specimen.State.IN_REVIEW)
    _cell(open_case, 10, "monocyte")
    amended = cast.specimen(state=Specimen.State.AMENDED)
    _cell(amended, 11, "eosinophil")
    _cell(amended, 12, "eosinophil", b"damaged since")
    drawn = cast.specimen(state=Specimen.State.SIGNED_OUT, is_synthetic=True)
    _cell(drawn, 13, "basophil")

    text = export(tmp_path / "cells")
    assert "5 cells of 2 specimens" in text
    assert "Left out: Musterfrau 12.jpg" in text
    files = read_labelled(tmp_path / "cells")
    assert [(file.group, file.label, file.specimen) for file in files] == [
        ("neutrophil", 4, str(signed.pk)),
        ("neutrophil", 4, str(signed.pk)),
        ("neutrophil", 4, str(signed.pk)),
        ("blast", -1, str(signed.pk)),
        ("eosinophil", 1, str(amended.pk)),
    ]
    for path in (tmp_path / "cells").rglob("*.*"):
        assert b"Musterfrau" not in path.read_bytes()
    with Image.open(files[0].path) as image:
        assert image.size == (64, 64) and not image.getexif()
    assert "13 cells" not in text and "1 basophil" in export(tmp_path / "all", with_drawn=True)


def test_the_export_is_audited(signed: Specimen, tmp_path: Path) -> None:
    export(tmp_path / "cells")
    event = AuditEvent.objects.get(action="cells.exported")
    assert event.actor_name == "administrator"
    assert event.details["by_class"] == {"neutrophil": 2, "band_neutrophil": 1, "blast": 1}
    assert event.details["specimens"] == [signed.pk]


def test_nothing_is_exported_without_right_site_cells_or_room(
    cast: Cast, signed: Specimen, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="role does not permit"):
        export(tmp_path / "a", user="pathologist")
    with pytest.raises(CommandError, match="belongs to no site 'other'"):
        export(tmp_path / "a", site="other")
    with pytest.raises(CommandError, match="no active account 'nobody'"):
        export(tmp_path / "a", user="nobody")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(CommandError, match="is not empty"):
        export(tmp_path / "full")
    Specimen.objects.update(state=Specimen.State.IN_REVIEW)
    with pytest.raises(CommandError, match="no signed cells"):
        export(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "images") == ["full"]
    assert not AuditEvent.objects.filter(action="cells.exported").exists()


def test_the_manifest_is_readable_by_people(signed: Specimen, tmp_path: Path) -> None:
    export(tmp_path / "cells")
    with (tmp_path / "cells" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [
        "neutrophil/000001.png",
        "neutrophil/000002.png",
        "band_neutrophil/000001.png",
        "blast/000001.png",
    ]
