"""`manage.py evaluate_model FOLDER`: how good the model is on a laboratory's own images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from classifier.artifact import ModelArtifact, ModelArtifactError
from classifier.engines import ENGINE_NAMES, EngineUnavailableError, create_engine
from classifier.evaluation.evaluate import (
    FIGURES_FILE,
    PAGE_FILE,
    Evaluator,
    evaluate_images,
)
from classifier.evaluation.labelled import LabelError
from classifier.evaluation.text import format_report
from classifier.imaging.pool import DecoderPoolError


class Command(BaseCommand):
    help = (
        "Classify labelled images as the service does and report how good that is: one HTML file "
        "with everything in it, and the figures as JSON. With --card, measure the sets of the "
        "model card and write it anew."
    )
    # Neither the database nor the web server is needed.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "folder",
            type=Path,
            nargs="?",
            help="one sub-folder per class, or a CSV file with the columns path and label",
        )
        parser.add_argument(
            "--other",
            type=Path,
            action="append",
            default=[],
            metavar="FOLDER",
            help="cells of none of the five classes (sub-folders name the kinds); repeatable",
        )
        parser.add_argument(
            "--model", type=Path, default=None, help="model folder; default: WBCLAB_MODEL_DIR"
        )
        parser.add_argument("--engine", choices=ENGINE_NAMES, default=settings.ENGINE)
        parser.add_argument(
            "--output",
            type=Path,
            default=Path("var/evaluation"),
            help="folder for the report (default: %(default)s)",
        )

    def handle(self, *, folder: Path | None, output: Path, **options: Any) -> None:
        if folder is None:
            raise CommandError("Name a folder or a CSV file with labelled images.")
        try:
            artifact = ModelArtifact.load(options["model"] or settings.MODEL_DIR)
            engine = create_engine(options["engine"], settings.ENGINE_THREADS)
            engine.load(artifact)
            with Evaluator(artifact, engine, settings.DECODER_PROCESSES) as evaluator:
                report = evaluate_images(evaluator, folder, options["other"], output, _progress)
        except (
            DecoderPoolError,
            EngineUnavailableError,
            LabelError,
            ModelArtifactError,
            OSError,
        ) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(format_report(report))
        self.stdout.write(f"\nReport: {output / PAGE_FILE}, figures: {output / FIGURES_FILE}")


def _progress(name: str, total: int) -> Callable[[int], object]:
    bar = tqdm(
        total=total,
        desc=name,
        unit=" images",
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        leave=False,
    )
    return bar.update
