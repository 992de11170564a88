"""Evaluate a released model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.artifact import DEFAULT_FOLDER, ModelArtifactError


class Command(BaseCommand):
    help = (
        "Classify labelled images with a released model, as the service does, and write "
        "metrics.json and figures."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder",
            type=Path,
            nargs="?",
            help="one sub-folder per class, or a CSV with the columns path and label; without it, "
            "the validation sets in WBCLAB_DATA that the model card reports",
        )
        parser.add_argument("--model", type=Path, default=DEFAULT_FOLDER, help="model folder")
        parser.add_argument(
            "--output",
            type=Path,
            default=Path("var/evaluation"),
            help="folder for the report (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Keras and matplotlib take seconds to import; nothing else may wait for them.
        from classifier.training.data import DataError, data_folder
        from classifier.training.evaluate import evaluate_folder, evaluate_standard_sets
        from classifier.training.report import format_report

        try:
            if options["folder"]:
                report = evaluate_folder(options["folder"], options["model"], options["output"])
            else:
                report = evaluate_standard_sets(data_folder(), options["model"], options["output"])
        except (DataError, ModelArtifactError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(format_report(report))
        self.stdout.write(f"Figures and metrics.json: {options['output']}")
