"""Writes the cell images of a specimen as DICOM files into a folder."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from specimens.dicom.export import ExportResult, exported_files, write_folder, write_key
from specimens.interop.channels import PermanentFailure
from specimens.models import Specimen
from specimens.services.dicom_export import plan_dicom_export


class Command(BaseCommand):
    help = (
        "Export the cell images of a specimen as VL Photographic instances, with a table of their "
        "classes. With --deidentify nothing in them leads back to the patient."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("accession_number")
        parser.add_argument("--output", type=Path, required=True, help="a new or empty folder")
        parser.add_argument("--site", help="code of the laboratory, where several have the number")
        parser.add_argument("--deidentify", action="store_true")
        parser.add_argument(
            "--key", type=Path, help="also write what leads back, to this new file (mode 600)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder, key = options["output"], options["key"]
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CommandError(f"{folder} is not empty. Name a new folder.")
        if key is not None and (key.exists() or folder.resolve() in key.resolve().parents):
            raise CommandError("--key: name a new file, outside of the exported folder.")
        specimen = self._specimen(options["accession_number"], options["site"])
        try:
            plan = plan_dicom_export(
                actor=None,
                specimen=specimen,
                deidentify=options["deidentify"],
                with_key=key is not None,
            )
        except ValidationError as refusal:
            raise CommandError(" ".join(refusal.messages)) from refusal
        result = ExportResult()
        try:
            with tqdm(total=len(plan.cells), unit="image", disable=None) as bar:
                write_folder(exported_files(plan, result, bar.update), folder)
            if key is not None:
                write_key(plan, key)
        except (OSError, PermanentFailure) as error:
            raise CommandError(f"Not exported: {error}") from error
        self.stdout.write(f"{len(result.written)} images written to {folder}.")
        if result.refused:
            raise CommandError(
                f"{len(result.refused)} images could not be exported: see not_exported.csv there."
            )

    def _specimen(self, number: str, site: str | None) -> Specimen:
        found = Specimen.objects.filter(accession_number=number).select_related(
            "site", "order__patient"
        )
        if site:
            found = found.filter(site__code=site)
        specimens = list(found[:2])
        if not specimens:
            raise CommandError(f"There is no specimen {number!r}.")
        if len(specimens) > 1:
            raise CommandError(f"Several laboratories have {number!r}: name one with --site.")
        return specimens[0]
