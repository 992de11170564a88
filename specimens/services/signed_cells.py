"""Hands a laboratory its own signed cells, for evaluation and training of the model."""

import csv
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from django.db import transaction

from classifier.imaging.decode import decode
from classifier.imaging.refusal import ImageRefused
from specimens.models import CellImage, Site, User
from specimens.permissions import Action, require
from specimens.selectors.signed_cells import signed_cells
from specimens.services import audit
from specimens.services.errors import Conflict

MANIFEST = "manifest.csv"


@dataclass(slots=True)
class Exported:
    """What was written.

    Attributes:
        by_class: number of images by class key.
        specimens: keys of the specimens they come from.
        left_out: names and reasons of images whose file cannot be read any more.
    """

    by_class: Counter[str] = field(default_factory=Counter)
    specimens: set[int] = field(default_factory=set)
    left_out: list[tuple[str, str]] = field(default_factory=list)


@transaction.atomic
def export_signed_cells(
    *, actor: User, site: Site, output: Path, with_drawn: bool = False
) -> Exported:
    """Write the signed cells of a site to a folder: one sub-folder per class and a manifest.

    Every image is decoded and written as PNG: pixels only, so that no name in a DICOM header and
    no note of a camera leaves with it. Files are numbered; the manifest names the specimen by its
    key in this database alone, which tells cells of one patient's specimen from those of another.

    Raises PermissionDenied (role), Conflict (the folder holds something, or there are no cells).
    """
    require(actor, Action.ADMINISTER)
    if output.exists() and any(output.iterdir()):
        raise Conflict(f"{output} is not empty; choose another folder.")
    cells = signed_cells(actor, site, with_drawn=with_drawn)
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        exported = _write(cells.iterator(chunk_size=500), scratch)
        if not exported.by_class:
            raise Conflict(f"There are no signed cells at {site} yet.")
        audit.record(
            actor=actor,
            action="cells.exported",
            subject=site,
            site=site,
            details={
                "images": exported.by_class.total(),
                "by_class": dict(exported.by_class),
                "specimens": sorted(exported.specimens),
                "manifest_sha256": hashlib.sha256((scratch / MANIFEST).read_bytes()).hexdigest(),
            },
        )
        if output.exists():
            output.rmdir()
        scratch.rename(output)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return exported


def _write(cells: Iterable[CellImage], folder: Path) -> Exported:
    exported = Exported()
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file, lineterminator="\n")
        manifest.writerow(["path", "label", "specimen"])
        for cell in cells:
            number = exported.by_class[cell.label] + 1
            name = f"{cell.label}/{number:06}.png"
            try:
                _write_pixels(cell, folder / name)
            except (OSError, ImageRefused) as error:
                exported.left_out.append((cell.filename, str(error)))
                continue
            manifest.writerow([name, cell.label, cell.specimen_id])
            exported.by_class[cell.label] += 1
            if cell.specimen_id is not None:
                exported.specimens.add(cell.specimen_id)
    return exported


def _write_pixels(cell: CellImage, target: Path) -> None:
    """Decode a file that passed the intake's checks and was decoded within limits before."""
    target.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=Path(str(cell.file.name)).suffix) as copy:
        with cell.file.open() as stored:
            shutil.copyfileobj(stored, copy)
        copy.flush()
        decode(Path(copy.name)).save(target)
