"""From trained weights to a released model version."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import Model
from numpy.typing import NDArray

from classifier.classes import CELL_CLASSES
from classifier.evaluation.labelled import halves, read_others
from classifier.evaluation.metrics import describe, softmax
from classifier.evaluation.standard import REFERENCE_SET
from classifier.nn.dmfnet import load_dmfnet
from classifier.preprocessing import INPUT_SIZE, TRAINING_MARGIN, prepare
from classifier.synthetic.no_cells import WITHOUT_CELL, draw_without_cell
from classifier.training.augmentation import CellAugmentation
from classifier.training.calibrate import Decision, fit_decision
from classifier.training.checkpoints import CURVES_FILE
from classifier.training.data import join_images, load_images
from classifier.training.export import export_onnx, export_saved_model, run_onnx
from classifier.training.release import ONNX_FILE, ReleaseNotes, write_release
from classifier.training.train import CROP_SIZE

TRAINING_SET = "pbc/train"
DEFAULT_NOTES = Path(__file__).parent / "configs" / "dmfnet_v2_notes.toml"
_PARITY_IMAGES = 64
_BATCH = 32
_DRAWN_OF_EACH_KIND = 60
_DRAWN_SEED = 70_000


class NotesError(Exception):
    """The notes of a release cannot be used; the message says why."""


def publish(
    weights: Sequence[Path],
    output: Path,
    data: Path,
    *,
    notes_file: Path | None = None,
    saved_model: Path | None = None,
) -> None:
    """Calibrate a trained network and write its model folder.

    The temperature and both thresholds come from pbc/val, the class means and the covariance from
    the training sets that the notes name, half of the images varied, the likeness to foreign cells
    from half of the images of the foreign sets they name and from drawings. The learning curves
    beside the weights are copied.

    Args:
        weights: Files that trainings wrote. Of several, related trainings their mean is taken
            (Wortsman et al. 2022, Model soups, arXiv:2203.05482).
        output: Model folder to write.
        data: Folder of the labelled images.
        notes_file: TOML file with the fields of :class:`ReleaseNotes` except ``metrics`` and
            ``lineage``.
        saved_model: Where to write a SavedModel as well.

    Raises:
        FileNotFoundError: If the weights are missing.
        DataError: If the images are missing or unreadable.
        NotesError: If the notes are missing or incomplete.
        ExportError: If the exported network differs from the trained one.
    """
    notes = _read_notes(notes_file or DEFAULT_NOTES)
    model = _mean_of(weights)
    sets = notes["training"].get("sets", [TRAINING_SET])
    training = join_images(
        load_images(data / folder, CROP_SIZE, margin=TRAINING_MARGIN) for folder in sets
    )
    validation = load_images(data / REFERENCE_SET, INPUT_SIZE)
    outputs = _outputs(model, validation.images)
    varied, plain = slice(0, None, 2), slice(1, None, 2)
    own = np.concatenate([_varied(training.images[varied]), _middle(training.images[plain])])
    labels = np.concatenate([training.labels[varied], training.labels[plain]])
    foreign = _foreign([data / folder for folder in notes["training"].get("foreign_sets", [])])
    decision = fit_decision(
        {**_outputs(model, own), "labels": labels},
        {**outputs, "labels": validation.labels},
        len(CELL_CLASSES),
        _outputs(model, foreign)["pooled"],
    )
    notes["metrics"] = {REFERENCE_SET: _headline(outputs["logits"], validation.labels, decision)}
    step = max(1, len(validation) // _PARITY_IMAGES)
    write_release(output, model, decision, ReleaseNotes(**notes), validation.images[::step])
    curves = weights[-1].parent / CURVES_FILE
    if curves.is_file():
        shutil.copyfile(curves, output / CURVES_FILE)
    if saved_model:
        export_saved_model(model, saved_model)


def _foreign(folders: Sequence[Path]) -> NDArray[np.uint8]:
    """What has no class: cells of other kinds, as they are and varied, and drawings without a cell.

    The drawings are of other seeds than those that figures are measured on.
    """
    crops = [_foreign_crops(folder) for folder in folders]
    drawn = [
        prepare(draw_without_cell(kind, _DRAWN_SEED + number))
        for kind in WITHOUT_CELL
        for number in range(_DRAWN_OF_EACH_KIND)
    ]
    return np.concatenate([np.stack(drawn), *map(_middle, crops), *map(_varied, crops)])


def _foreign_crops(folder: Path) -> NDArray[np.uint8]:
    """Cells of none of the classes: the half of the images that figures are not measured on."""
    fitted_on = {file.path for file in halves(read_others(folder))[0]}
    found = load_images(folder, CROP_SIZE, margin=TRAINING_MARGIN, only_classes=False)
    chosen = [index for index, path in enumerate(found.paths) if path in fitted_on]
    return found.images[chosen]


def _middle(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What serving shows of training crops."""
    start = (CROP_SIZE - INPUT_SIZE) // 2
    return crops[:, start : start + INPUT_SIZE, start : start + INPUT_SIZE]


def _varied(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change each crop as in training, once; the cell stays about as large as it is served.

    The laboratories to come do not look like those of the training. A distance that knows only
    these would call every cell from elsewhere foreign.
    """
    augmentation = CellAugmentation(INPUT_SIZE, zoom=(0.8, 1.25), shift=0.05, seed=9)
    parts = [
        keras.ops.convert_to_numpy(augmentation(crops[start : start + _BATCH], training=True))
        for start in range(0, len(crops), _BATCH)
    ]
    return np.asarray(np.rint(np.concatenate(parts)), np.uint8)


def _outputs(model: Model, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Run the network as it will be served, which is several times as fast as in Keras."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / ONNX_FILE
        export_onnx(model, path, images[:1])
        return run_onnx(path, images)


def _mean_of(files: Sequence[Path]) -> Model:
    """Load DM-FNet with the mean of the weights in the files."""
    model = load_dmfnet(files[0])
    each = [model.get_weights(), *(load_dmfnet(file).get_weights() for file in files[1:])]
    model.set_weights([np.mean(values, axis=0) for values in zip(*each, strict=True)])
    return model


def _headline(logits: Any, labels: Any, decision: Decision) -> dict[str, Any]:
    """The figures that stand in the metadata; the full set is in the evaluation."""
    figures = describe(labels, softmax(logits, decision.temperature), CELL_CLASSES)
    uncalibrated = describe(labels, softmax(logits), CELL_CLASSES)
    chosen = ("n", "accuracy", "balanced_accuracy", "macro_f1", "cohen_kappa")
    return {name: figures[name] for name in chosen} | {
        "expected_calibration_error": figures["expected_calibration_error"],
        "expected_calibration_error_before": uncalibrated["expected_calibration_error"],
    }


def _read_notes(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise NotesError(f"no such notes: {path}")
    try:
        notes = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise NotesError(f"{path} is not valid TOML: {error}") from error
    expected = {item.name for item in fields(ReleaseNotes)} - {"metrics", "lineage"}
    if set(notes) != expected:
        raise NotesError(f"{path} must have exactly {sorted(expected)}, has {sorted(notes)}")
    return notes
