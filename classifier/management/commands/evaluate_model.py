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

from classifier.artifact import DEFAULT_FOLDER, ModelArtifact, ModelArtifactError
from classifier.engines import ENGINE_NAMES, EngineUnavailableError, create_engine
from classifier.evaluation.card import CARD_FILE
from classifier.evaluation.evaluate import (
    FIGURES_FILE,
    PAGE_FILE,
    Evaluator,
    evaluate_images,
)
from classifier.evaluation.goals import check_goals
from classifier.evaluation.labelled import LabelError
from classifier.evaluation.regenerate import write_card
from classifier.evaluation.standard import labelled_images
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
            help="folder for the report (default: var/evaluation), or for the charts of the card "
            "(default: docs/validation for the shipped model)",
        )
        card = parser.add_argument_group("the model card")
        card.add_argument(
            "--card",
            action="store_true",
            help="measure the sets of the card and write it anew into the model folder",
        )
        card.add_argument(
            "--data", type=Path, help="folder of the labelled images; default: WBCLAB_DATA"
        )
        card.add_argument(
            "--seeds",
            type=Path,
            nargs="+",
            default=[],
            metavar="FIGURES",
            help="evaluation.json of trainings with other seeds, for the table over seeds",
        )

    def handle(self, *, folder: Path | None, card: bool, **options: Any) -> None:
        if (folder is None) is not card:
            raise CommandError(
                "Name either a folder (or CSV file) with your labelled images, or --card."
            )
        try:
            artifact = ModelArtifact.load(options["model"] or settings.MODEL_DIR)
            engine = create_engine(options["engine"], settings.ENGINE_THREADS)
            engine.load(artifact)
            with Evaluator(artifact, engine, settings.DECODER_PROCESSES) as evaluator:
                if folder is None:
                    self._write_card(evaluator, **options)
                else:
                    self._evaluate(evaluator, folder, **options)
        except (
            DecoderPoolError,
            EngineUnavailableError,
            LabelError,
            ModelArtifactError,
            OSError,
        ) as error:
            raise CommandError(str(error)) from error

    def _evaluate(self, evaluator: Evaluator, folder: Path, **options: Any) -> None:
        output = options["output"] or Path("var/evaluation")
        report = evaluate_images(evaluator, folder, options["other"], output, _progress)
        self.stdout.write(format_report(report))
        self.stdout.write(f"\nReport: {output / PAGE_FILE}, figures: {output / FIGURES_FILE}")

    def _write_card(self, evaluator: Evaluator, **options: Any) -> None:
        model = evaluator.artifact.folder
        shipped = model.resolve() == DEFAULT_FOLDER
        charts = options["output"] or Path("docs/validation" if shipped else "var/evaluation/card")
        data = options["data"] or labelled_images()
        figures = write_card(evaluator, data, charts, options["seeds"], _progress)
        for goal in check_goals(figures):
            state = {True: "reached", False: "MISSED", None: "unknown"}[goal.met]
            self.stdout.write(f"{state:<8} {goal.text}: {goal.measured}")
        self.stdout.write(f"Card: {model / CARD_FILE}, charts: {charts}")


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
