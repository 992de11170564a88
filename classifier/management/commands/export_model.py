"""Calibrate trained weights and write them in the form in which a model is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Calibrate trained weights and export them: a model folder, and a SavedModel on request."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "weights",
            type=Path,
            nargs="+",
            help="weights that train_model wrote (.h5); of several, their mean is exported",
        )
        parser.add_argument("--output", type=Path, required=True, help="model folder to write")
        parser.add_argument("--notes", type=Path, help="TOML file with what the metadata says")
        parser.add_argument("--data", type=Path, help="folder of the images; default: WBCLAB_DATA")
        parser.add_argument(
            "--saved-model",
            type=Path,
            help="also write a SavedModel for TensorFlow Serving to this numbered folder",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Keras takes seconds to import; nothing else in the project may wait for it.
        from classifier.training.data import DataError, data_folder
        from classifier.training.export import ExportError
        from classifier.training.publish import NotesError, publish

        try:
            publish(
                options["weights"],
                options["output"],
                options["data"] or data_folder(),
                notes_file=options["notes"],
                saved_model=options["saved_model"],
            )
        except (DataError, ExportError, FileNotFoundError, NotesError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Model folder: {options['output']}")
