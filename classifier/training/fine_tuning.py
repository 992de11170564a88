"""Goes on training a released model on a laboratory's own signed cells, and judges what came out.

A part of the cells is kept aside before anything is trained: some of it calibrates the new model,
the rest compares it with the old one. Neither part is ever trained on.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from classifier.artifact import KERAS_WEIGHTS_FILE, METADATA_FILE, ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.evaluation.labelled import LabelledFile
from classifier.evaluation.labels import CLASS_KEYS, class_name
from classifier.evaluation.run import Unread
from classifier.imaging.decode import decode
from classifier.imaging.refusal import ImageRefused
from classifier.nn.dmfnet import load_dmfnet
from classifier.preprocessing import INPUT_SIZE
from classifier.training.calibrate import Decision, fit_decision
from classifier.training.configuration import (
    DEFAULT_CONFIGURATION,
    TrainingConfiguration,
    read_configuration,
)
from classifier.training.data import load_images
from classifier.training.release import ReleaseNotes, write_release
from classifier.training.split import Split, describe_files, split_files, write_table
from classifier.training.train import train

WORK_FOLDER = "training"
TRAINING_TABLE, CALIBRATION_TABLE, COMPARISON_TABLE = (
    "training.csv",
    "calibration.csv",
    "comparison.csv",
)
# Of each class, in the laboratory's cells or those mixed in: less teaches nothing.
LEAST_OF_A_CLASS = 3
# With fewer cells a temperature fits their chance; the old one is kept.
LEAST_FOR_TEMPERATURE = 100
_PARITY_IMAGES = 64


class FineTuningError(Exception):
    """The model cannot be fine-tuned on these cells; the message says why and what to do."""


@dataclass(frozen=True)
class FineTuning:
    """The settings.

    Attributes:
        version: name of the new model version.
        seed: of the split and of the training.
        held_out: share of each class kept aside.
        epochs: passes over the training part.
        learning_rate: highest; a tenth of a training from the start.
        batch_size: images in a step.
        mix: further images to train on, such as those of the old model, against forgetting.
    """

    version: str
    seed: int = 1
    held_out: float = 0.3
    epochs: int = 8
    learning_rate: float = 6e-5
    batch_size: int = 32
    mix: tuple[LabelledFile, ...] = field(default=())

    def __post_init__(self) -> None:
        if not 0.1 <= self.held_out <= 0.6:
            raise FineTuningError(
                f"The share held out must lie between 0.1 and 0.6, received {self.held_out}."
            )
        if self.epochs < 1:
            raise FineTuningError(f"There must be at least one epoch, received {self.epochs}.")


def fine_tune(
    parent: ModelArtifact,
    files: Sequence[LabelledFile],
    settings: FineTuning,
    output: Path,
    *,
    verbose: bool = True,
) -> tuple[Split, list[Unread]]:
    """Train and write a new model folder, without judging it yet.

    Args:
        parent: the model to go on from.
        files: the laboratory's cells; those of none of the five classes are left out.
        settings: see `FineTuning`.
        output: the new model folder; the tables of the split lie in `training` below it.
        verbose: whether to show the progress.

    Returns:
        The split, and the files that could not be read.

    Raises:
        FineTuningError: a class has too few cells, or there is a model in `output` already.
    """
    if (output / METADATA_FILE).exists():
        raise FineTuningError(f"{output} holds a model already; choose another --output.")
    work = output / WORK_FOLDER
    work.mkdir(parents=True, exist_ok=True)
    readable, unread = _readable([file for file in files if file.label >= 0], work)
    mixed, unread_mixed = _readable(settings.mix, work)
    split = split_files(readable, settings.held_out, settings.seed)
    _require_enough(split, mixed)
    tables = {
        TRAINING_TABLE: [*split.training, *mixed],
        CALIBRATION_TABLE: split.calibration,
        COMPARISON_TABLE: split.comparison,
    }
    for name, part in tables.items():
        write_table(part, work / name)
    weights = train(
        _configuration(settings, len(tables[TRAINING_TABLE])),
        work,
        work / "checkpoints",
        start=parent.path(KERAS_WEIGHTS_FILE),
        verbose=verbose,
    )
    _release(parent, weights, work, output, _notes(parent, split, mixed, settings))
    _remove_checkpoints(work / "checkpoints")
    return split, [*unread, *unread_mixed]


def _readable(files: Sequence[LabelledFile], work: Path) -> tuple[list[LabelledFile], list[Unread]]:
    """The files the service could read; what training cannot read as it is, as a PNG beside."""
    found, unread = [], []
    for number, file in enumerate(files):
        try:
            image = decode(file.path)
        except ImageRefused as refusal:
            unread.append(Unread(file, refusal.reason))
            continue
        if not _is_plain(file.path):
            copy = work / "pictures" / f"{file.group}-{number}-{file.path.stem}.png"
            copy.parent.mkdir(exist_ok=True)
            image.save(copy)
            file = dataclasses.replace(file, path=copy)
        found.append(file)
    return found, unread


def _is_plain(path: Path) -> bool:
    """Whether Pillow alone reads it as the service does: upright, opaque colour."""
    try:
        with Image.open(path) as image:
            upright = image.getexif().get(0x0112, 1) == 1
            return image.mode == "RGB" and upright and "transparency" not in image.info
    except OSError:
        return False


def _require_enough(split: Split, mixed: Sequence[LabelledFile]) -> None:
    trained = [*split.training, *mixed]
    few = {
        key: count
        for index, key in enumerate(CLASS_KEYS)
        if (count := sum(file.label == index for file in trained)) < LEAST_OF_A_CLASS
    }
    if few:
        listed = ", ".join(f"{class_name(key)} {count}" for key, count in few.items())
        raise FineTuningError(
            f"Too few cells to train on (at least {LEAST_OF_A_CLASS} of each class are needed): "
            f"{listed}. A model trained on without a class forgets it. Export more signed cells, "
            f"or add images of all classes with --mix FOLDER."
        )
    if not split.calibration or not split.comparison:
        raise FineTuningError(
            "Nothing is left to calibrate and to compare on: more cells, or cells of more "
            "specimens, are needed."
        )


def _configuration(settings: FineTuning, images: int) -> TrainingConfiguration:
    """The recipe of the shipped model, shorter and more careful."""
    recipe = read_configuration(DEFAULT_CONFIGURATION)
    kept = ("weight_decay", "clip_norm", "label_smoothing", "dropout", "frozen")
    varied = ("zoom", "shift", "stain", "colour", "focus")
    batches = max(1, math.ceil(images / settings.batch_size))
    return TrainingConfiguration(
        train=TRAINING_TABLE,
        validation={"held out": CALIBRATION_TABLE},
        seed=settings.seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        batches_per_epoch=batches,
        validate_every=max(1, settings.epochs // 2),
        learning_rate=settings.learning_rate,
        warm_up_epochs=min(1.0, settings.epochs / 4),
        # Over about one epoch: a longer memory would still hold the old weights at the end.
        averaging=min(0.995, max(0.5, 1.0 - 1.0 / batches)),
        **{name: getattr(recipe, name) for name in (*kept, *varied)},
    )


def _notes(
    parent: ModelArtifact,
    split: Split,
    mixed: Sequence[LabelledFile],
    settings: FineTuning,
) -> ReleaseNotes:
    metadata = parent.metadata
    own = {
        "name": "The laboratory's own signed cells",
        "licence": "the laboratory's own",
        "images": len(split.training),
        "doi": "",
    }
    return ReleaseNotes(
        version=settings.version,
        metrics={},
        data=[*metadata.get("data", []), own],
        training={
            "command": f"python manage.py train_model --from {parent.version} --data FOLDER",
            "seed": settings.seed,
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "sets": ["the laboratory's own cells"],
        },
        intended_use=str(metadata["intended_use"]),
        limitations=[
            "Fine-tuned on one laboratory's cells: figures of the model it comes from do not "
            "hold for it.",
            *metadata.get("limitations", []),
        ],
        changelog={
            **metadata.get("changelog", {}),
            settings.version: f"Fine-tuned from {parent.version} on a laboratory's own cells.",
        },
        lineage=_lineage(parent, split, mixed),
    )


def _lineage(parent: ModelArtifact, split: Split, mixed: Sequence[LabelledFile]) -> dict[str, Any]:
    cells = [*split.training, *split.calibration, *split.comparison]
    return {
        "parent": {"version": parent.version, "digest": parent.digest},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": {
            "digest": describe_files(cells),
            "training": _counted(split.training),
            "calibration": _counted(split.calibration),
            "comparison": _counted(split.comparison),
            "mixed_in": _counted(mixed),
            "specimens": len({file.specimen for file in cells if file.specimen}),
        },
    }


def _counted(files: Sequence[LabelledFile]) -> dict[str, int]:
    return {key: sum(file.label == index for file in files) for index, key in enumerate(CLASS_KEYS)}


def _release(
    parent: ModelArtifact, weights: Path, work: Path, output: Path, notes: ReleaseNotes
) -> None:
    model = load_dmfnet(weights)
    trained = load_images(work / TRAINING_TABLE, INPUT_SIZE)
    calibration = load_images(work / CALIBRATION_TABLE, INPUT_SIZE)
    known = model.predict(trained.images, batch_size=64, verbose=0)
    outputs = model.predict(calibration.images, batch_size=64, verbose=0)
    decision = fit_decision(
        {**known, "labels": trained.labels},
        {**outputs, "labels": calibration.labels},
        len(CELL_CLASSES),
    )
    decision = _careful(decision, parent, len(calibration))
    step = max(1, len(calibration) // _PARITY_IMAGES)
    write_release(output, model, decision, notes, calibration.images[::step])


def _careful(decision: Decision, parent: ModelArtifact, cells: int) -> Decision:
    """With few cells to calibrate on, the old temperature and probability threshold hold on."""
    if cells >= LEAST_FOR_TEMPERATURE:
        return decision
    return dataclasses.replace(
        decision,
        temperature=parent.temperature,
        confidence_threshold=parent.confidence_threshold,
    )


def _remove_checkpoints(folder: Path) -> None:
    """The states of the optimiser are three times as large as the model; nobody goes on there."""
    for path in (*folder.glob("*.npz"), *folder.glob("*.h5")):
        path.unlink()


def default_version(parent: str) -> str:
    """``1.2.0-site.20260131`` for a model made on 31 January from 1.2.0."""
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{parent.split('-site.')[0]}-site.{today:%Y%m%d}"
