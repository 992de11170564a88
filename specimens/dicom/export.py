"""The cells of a specimen as files: one DICOM instance each, a table of classes, and a ZIP of it.

Pure: everything known comes in as a plan (specimens/services/dicom_export.py makes it); files
come out one at a time, so that none of it is ever whole in memory.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from specimens.dicom.deidentify import NotDeidentifiable, Pseudonyms, deidentify
from specimens.dicom.export_instance import CellFacts, cell_instance, write_instance
from specimens.dicom.export_process import PictureReader, PictureRefused

CELLS: Final = "cells.csv"
NOT_EXPORTED: Final = "not_exported.csv"
_COLUMNS: Final = ("file", "sop_instance_uid", "class", "said_by")
# One for all entries: when files were written says when a patient was seen.
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell to be exported. `burned_in`: what is known of annotations; "said_by" is person, model
    or nobody. `path` is the stored file, `frame` that of a DICOM file, from 1.
    """

    path: Path
    frame: int | None
    facts: CellFacts
    cell_class: str
    said_by: str


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What is exported and how. With `pseudonyms` the set is de-identified."""

    content: dict[str, Any]
    study: str
    software: str
    cells: tuple[PlannedCell, ...]
    pseudonyms: Pseudonyms | None = None


@dataclass(slots=True)
class ExportResult:
    """What became of the cells: written so far, and why others were not."""

    written: list[dict[str, str]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)


def exported_files(
    plan: ExportPlan, result: ExportResult, note: Callable[[], object] = lambda: None
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file: the instances, then the tables.

    A picture that cannot be exported is named in not_exported.csv and stops nothing. `note` is
    called after each cell. Raises PermanentFailure where an identifier does not fit into DICOM.
    """
    with PictureReader() as reader:
        for cell in plan.cells:
            name = f"IM{cell.facts.number:06}.dcm"
            try:
                dataset = _dataset(plan, cell, reader)
            except (PictureRefused, NotDeidentifiable) as refusal:
                result.refused.append({"cell": str(cell.facts.number), "reason": str(refusal)})
            else:
                out = io.BytesIO()
                write_instance(dataset, out)
                result.written.append(_row(name, str(dataset.SOPInstanceUID), cell))
                yield name, out.getvalue()
            note()
    yield CELLS, _table(_COLUMNS, result.written)
    if result.refused:
        yield NOT_EXPORTED, _table(("cell", "reason"), result.refused)


def zip_blocks(files: Iterable[tuple[str, bytes]], folder: str) -> Iterator[bytes]:
    """Yield a ZIP archive of `files`, each below `folder`, as it is made."""
    out = _Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(f"{folder}/{name}", _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, content)
            yield out.taken()
    yield out.taken()


def write_folder(files: Iterable[tuple[str, bytes]], folder: Path) -> None:
    """Write `files` into a folder that only its owner can read. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in files:
        path = folder / name
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)


def write_key(plan: ExportPlan, path: Path) -> None:
    """Write what leads back from a de-identified set; only its owner can read it.

    Raises FileExistsError: an older key is not overwritten. OSError: it cannot be written.
    """
    if plan.pseudonyms is None:
        raise ValueError("there is no key to a set that is not de-identified")
    patient, specimen = plan.content["patient"], plan.content["specimen"]
    key = {
        "pseudonym": plan.pseudonyms.name,
        "days_moved_back": plan.pseudonyms.days,
        "patient": {name: patient[name] for name in ("identifier", "issuer")},
        "accession_number": specimen["accession_number"],
        "uids": {new: old for old, new in plan.pseudonyms.uids.items()},
    }
    path.touch(mode=0o600, exist_ok=False)
    try:
        path.write_text(json.dumps(key, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _dataset(plan: ExportPlan, cell: PlannedCell, reader: PictureReader) -> Any:
    picture = reader.read(cell.path, cell.frame, bare=plan.pseudonyms is not None)
    dataset = cell_instance(picture, cell.facts, plan.content, plan.study, plan.software)
    return deidentify(dataset, plan.pseudonyms) if plan.pseudonyms else dataset


def _row(name: str, uid: str, cell: PlannedCell) -> dict[str, str]:
    return {
        "file": name,
        "sop_instance_uid": uid,
        "class": cell.cell_class,
        "said_by": cell.said_by,
    }


def _table(columns: Iterable[str], rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


class _Unseekable(io.RawIOBase):
    """Collects what is written until it is taken; never asked to go back."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self._blocks.append(bytes(block))
        return len(block)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)
