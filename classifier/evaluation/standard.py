"""The sets a model card reports on, measured in one go from the data folder."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from classifier.evaluation.appearance import describe_appearance, quantiles
from classifier.evaluation.evaluate import Evaluator, Progress
from classifier.evaluation.labelled import LabelError, halves, read_labelled, read_others
from classifier.evaluation.report import conditions
from classifier.evaluation.run import Evaluated, classify_drawn
from classifier.evaluation.summary import separation, summarise
from classifier.preprocessing import prepare
from classifier.synthetic.no_cells import WITHOUT_CELL, draw_without_cell

# The first is the one thresholds are chosen on; foreign cells are told from it.
REFERENCE_SET: Final = "pbc/val"
EXTERNAL_SETS: Final = ("bccd/external", "jtsc/external")
LABELLED_SETS: Final = (REFERENCE_SET, *EXTERNAL_SETS)
FOREIGN_SET: Final = "pbc_other/val"
DRAWN_SET: Final = "no_cells"
TRAINING_SETS: Final = ("pbc/train",)

# Enough for quantiles of how the training images look.
_REFERENCE_IMAGES = 1000
_DRAWN_OF_EACH_KIND = 100
_DRAWN_SEED = 20_000
_TIMED_IMAGES = 64

# Relative to the folder that holds manage.py.
_DEFAULT_DATA = "../shared/data"

NamedProgress = Callable[[str, int], Progress]


def labelled_images() -> Path:
    """The folder of the labelled images: WBCLAB_DATA, or beside the project."""
    configured = os.environ.get("WBCLAB_DATA")
    if configured:
        return Path(configured)
    return (Path(__file__).resolve().parents[2] / _DEFAULT_DATA).resolve()


def measure_card(
    evaluator: Evaluator, data: Path, progress: NamedProgress = lambda name, total: lambda n: None
) -> tuple[dict[str, Any], dict[str, Evaluated]]:
    """Measure everything a model card says.

    Args:
        evaluator: with the model.
        data: the data folder, with `pbc/val` and whichever of the other sets there are.
        progress: given a name and a number of files, returns what is called after each batch.

    Returns:
        The figures, ready for JSON, and the sets they come from, for the charts.

    Raises:
        LabelError: `pbc/val` is missing, or labels cannot be used.
    """
    if not (data / REFERENCE_SET).is_dir():
        raise LabelError(
            f"{data} has no {REFERENCE_SET}: the card is measured on the labelled images that "
            f"WBCLAB_DATA (or --data) names."
        )
    artifact = evaluator.artifact
    recorded = artifact.metadata.get("training", {})
    fitted_on_half = FOREIGN_SET in recorded.get("foreign_sets", [])
    sets: dict[str, Evaluated] = {}
    for name in LABELLED_SETS:
        if (data / name).is_dir():
            files = read_labelled(data / name)
            sets[name] = evaluator.classify(files, progress(name, len(files)))
    if (data / FOREIGN_SET).is_dir():
        files = read_others(data / FOREIGN_SET)
        if fitted_on_half:
            files = halves(files)[1]
        if files:
            sets[FOREIGN_SET] = evaluator.classify(files, progress(FOREIGN_SET, len(files)))
    sets[DRAWN_SET] = _drawn(evaluator)
    training_sets = recorded.get("sets", list(TRAINING_SETS))
    figures = {
        "model": {"name": artifact.name, "version": artifact.version, "digest": artifact.digest},
        "conditions": conditions(artifact, evaluator.engine.name),
        "sets": {name: summarise(found, artifact.temperature) for name, found in sets.items()},
        "out_of_distribution_auroc": {
            name: separation(found, sets[REFERENCE_SET])
            for name, found in sets.items()
            if name != REFERENCE_SET
        },
        "reference": _reference(evaluator, data, training_sets, sets[REFERENCE_SET], progress),
        "speed": _speed(evaluator, sets[REFERENCE_SET]),
        "seed": recorded.get("seed"),
        "foreign_fitted_on_half": fitted_on_half,
    }
    return figures, sets


def _drawn(evaluator: Evaluator) -> Evaluated:
    pictures = (
        (kind, draw_without_cell(kind, _DRAWN_SEED + number))
        for kind in WITHOUT_CELL
        for number in range(_DRAWN_OF_EACH_KIND)
    )
    return classify_drawn(pictures, evaluator.engine)


def _reference(
    evaluator: Evaluator,
    data: Path,
    training_sets: Sequence[str],
    validation: Evaluated,
    progress: NamedProgress,
) -> dict[str, Any]:
    """What the training images look like, for `likeness.compare`."""
    files = [
        file
        for name in training_sets
        if (data / name).exists()
        for file in read_labelled(data / name)
    ]
    if not files:
        return describe_reference(validation, validation, [REFERENCE_SET])
    chosen = np.linspace(0, len(files) - 1, min(len(files), _REFERENCE_IMAGES)).astype(int)
    names = ", ".join(training_sets)
    sample = [files[index] for index in chosen]
    training = evaluator.classify(sample, progress(names, len(sample)))
    return describe_reference(training, validation, list(training_sets))


def describe_reference(
    training: Evaluated, validation: Evaluated, names: Sequence[str]
) -> dict[str, Any]:
    """The reference that laboratories' images are compared with.

    Args:
        training: images the model was trained on: how they look.
        validation: images of the same source it was not trained on: how strange it finds them.
        names: of the sets.
    """
    return {
        "sets": list(names),
        "appearance": describe_appearance(one.appearance for one in training.judged),
        "ood_score": quantiles(validation.known.ood_scores),
    }


def _speed(evaluator: Evaluator, evaluated: Evaluated) -> dict[str, Any]:
    """Milliseconds on this machine, as busy as it is: medians over a few rounds."""
    paths = [one.file.path for one in evaluated.judged[:_TIMED_IMAGES]]
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    batch = np.stack([prepare(image) for image in images])
    classify = evaluator.engine.classify
    return {
        "prepare_ms": _median_ms([partial(prepare, image) for image in images]),
        "one_image_ms": _median_ms([lambda: classify(batch[:1])] * 10),
        "image_in_batch_ms": round(_median_ms([lambda: classify(batch)] * 3) / len(batch), 2),
    }


def _median_ms(acts: Sequence[Callable[[], object]]) -> float:
    times = []
    for act in acts:
        started = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 2)


def seed_row(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The headline figures of one model, for the table over seeds."""
    sets = figures["sets"]
    row: dict[str, Any] = {
        "seed": figures.get("seed"),
        "version": figures["model"]["version"],
        "digest": figures["model"]["digest"],
        "accuracy": sets[REFERENCE_SET]["accuracy"]["value"],
        "macro_f1": sets[REFERENCE_SET]["macro_f1"],
        "ece": sets[REFERENCE_SET]["expected_calibration_error"],
    }
    for name in EXTERNAL_SETS:
        row[name] = sets.get(name, {}).get("balanced_accuracy_classes_over_two")
    scores = figures["out_of_distribution_auroc"].get(FOREIGN_SET, {})
    return row | {"auroc": scores.get("ood_score", {}).get("all")}
