"""Train DM-FNet, go on with an interrupted training, or fine-tune a released model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.artifact import (
    DEFAULT_FOLDER,
    METADATA_FILE,
    ModelArtifact,
    ModelArtifactError,
)
from classifier.evaluation.comparison import format_comparison
from classifier.evaluation.labelled import LabelError, read_labelled
from classifier.imaging.pool import DecoderPoolError

_MODELS = Path("var/models")


class Command(BaseCommand):
    help = (
        "Train DM-FNet; interrupted, the same command goes on at the last finished epoch. With "
        "--from, fine-tune a released model on a laboratory's own signed cells and compare both "
        "on cells that were kept aside."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--config", type=Path, help="TOML file; default: the shipped one")
        parser.add_argument(
            "--data",
            type=Path,
            help="folder of the images; default: WBCLAB_DATA. With --from: the signed cells, one "
            "sub-folder per class or a CSV file (manage.py export_signed_cells writes them)",
        )
        parser.add_argument(
            "--output",
            type=Path,
            help="folder for checkpoints and learning curves (default: var/training/dmfnet); with "
            "--from: the new model folder (default: var/models/VERSION)",
        )
        parser.add_argument("--epochs", type=int, help="instead of the usual number")
        parser.add_argument("--seed", type=int, help="instead of the usual seed")
        tuning = parser.add_argument_group("fine-tuning")
        tuning.add_argument(
            "--from",
            dest="parent",
            metavar="VERSION",
            help="go on from this model: a version in use here, or a model folder",
        )
        tuning.add_argument("--new-version", help="name of the new version (default: by date)")
        tuning.add_argument(
            "--held-out",
            type=float,
            default=0.3,
            metavar="SHARE",
            help="of each class, kept aside to calibrate and compare (default: %(default)s)",
        )
        tuning.add_argument(
            "--mix",
            type=Path,
            action="append",
            default=[],
            metavar="FOLDER",
            help="further labelled images to train on; nothing is mixed in otherwise",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["parent"]:
            self._fine_tune(**options)
        else:
            self._train(**options)

    def _train(self, **options: Any) -> None:
        # Keras takes seconds to import; nothing else in the project may wait for it.
        try:
            from classifier.training.checkpoints import ResumeError
            from classifier.training.configuration import (
                DEFAULT_CONFIGURATION,
                ConfigurationError,
                read_configuration,
            )
            from classifier.training.data import DataError, data_folder
            from classifier.training.train import train
        except ImportError as error:
            raise _missing(error) from error

        try:
            configuration = read_configuration(
                options["config"] or DEFAULT_CONFIGURATION,
                epochs=options["epochs"],
                seed=options["seed"],
            )
            output = options["output"] or Path("var/training/dmfnet")
            weights = train(configuration, options["data"] or data_folder(), output)
        except (ConfigurationError, DataError, FileNotFoundError, ResumeError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Averaged weights: {weights}")
        self.stdout.write(f"Next: manage.py export_model {weights} --output FOLDER")

    def _fine_tune(self, **options: Any) -> None:
        if options["data"] is None:
            raise CommandError("Name the signed cells with --data FOLDER.")
        try:
            from classifier.training.data import DataError
            from classifier.training.export import ExportError
            from classifier.training.fine_tuning import (
                FineTuning,
                FineTuningError,
                default_version,
                fine_tune,
            )
            from classifier.training.judge import format_verdict, judge
        except ImportError as error:
            raise _missing(error) from error

        try:
            parent = ModelArtifact.load(_model_folder(options["parent"]))
            version = options["new_version"] or default_version(parent.version)
            output = options["output"] or _MODELS / version
            chosen = {key: options[key] for key in ("seed", "epochs") if options[key] is not None}
            tuning = FineTuning(
                version,
                held_out=options["held_out"],
                mix=tuple(file for folder in options["mix"] for file in read_labelled(folder)),
                **chosen,
            )
            files = read_labelled(options["data"])
            split, unread = fine_tune(
                parent, files, tuning, output, verbose=options["verbosity"] > 0
            )
            for one in unread:
                self.stderr.write(f"Left out: {one.file.path}: {one.reason}")
            comparison = judge(
                parent, output, split, settings.ENGINE_THREADS, settings.DECODER_PROCESSES
            )
        except (
            DataError,
            DecoderPoolError,
            ExportError,
            FineTuningError,
            LabelError,
            ModelArtifactError,
            OSError,
        ) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Held out cells ({len(split.comparison)}), never trained on:\n")
        self.stdout.write(format_comparison(comparison, (parent.version, version)))
        if comparison["verdict"] == "worse":
            raise CommandError(f"{format_verdict(comparison)} It lies in {output} all the same.")
        self.stdout.write(format_verdict(comparison))
        self.stdout.write(f"Model folder: {output}")
        self.stdout.write(f"To serve it: WBCLAB_MODEL_DIR={output.resolve()}")


def _missing(error: ImportError) -> CommandError:
    return CommandError(
        f"Training needs packages that serving does not ({error}): those of "
        f"requirements/train.txt. Install them with scripts/install_requirements.sh train."
    )


def _model_folder(name: str) -> Path:
    """The folder of a version: itself a folder, or among the models this installation has."""
    if (Path(name) / METADATA_FILE).is_file():
        return Path(name)
    known: dict[str, Path] = {}
    for folder in (Path(settings.MODEL_DIR), DEFAULT_FOLDER, *sorted(_MODELS.glob("*"))):
        try:
            text = (folder / METADATA_FILE).read_text(encoding="utf-8")
            known.setdefault(str(json.loads(text)["version"]), folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if name not in known:
        raise CommandError(
            f"There is no model {name!r} here. Known: {', '.join(known) or 'none'}; or give a "
            f"model folder."
        )
    return known[name]
