"""Train DM-FNet, or go on with an interrupted training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Train DM-FNet. Interrupted, the same command goes on at the last finished epoch."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--config", type=Path, help="TOML file; default: the shipped one")
        parser.add_argument("--data", type=Path, help="folder of the images; default: WBCLAB_DATA")
        parser.add_argument(
            "--output",
            type=Path,
            default=Path("var/training/dmfnet"),
            help="folder for checkpoints and learning curves (default: %(default)s)",
        )
        parser.add_argument("--epochs", type=int, help="instead of the number in the configuration")
        parser.add_argument("--seed", type=int, help="instead of the seed in the configuration")

    def handle(self, *args: Any, **options: Any) -> None:
        # Keras takes seconds to import; nothing else in the project may wait for it.
        from classifier.training.checkpoints import ResumeError
        from classifier.training.configuration import (
            DEFAULT_CONFIGURATION,
            ConfigurationError,
            read_configuration,
        )
        from classifier.training.data import DataError, data_folder
        from classifier.training.train import train

        try:
            configuration = read_configuration(
                options["config"] or DEFAULT_CONFIGURATION,
                epochs=options["epochs"],
                seed=options["seed"],
            )
            weights = train(configuration, options["data"] or data_folder(), options["output"])
        except (ConfigurationError, DataError, FileNotFoundError, ResumeError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Averaged weights: {weights}")
        self.stdout.write(f"Next: manage.py export_model {weights} --output FOLDER")
