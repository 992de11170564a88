"""The model card, written from metadata.json and the measured figures alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from classifier.evaluation.card_origin import (
    describe_data,
    describe_lineage,
    describe_seeds,
    describe_speed,
    describe_training,
)
from classifier.evaluation.filters import NOTHING, number, percent, proportion
from classifier.evaluation.goals import check_goals
from classifier.evaluation.labels import class_name
from classifier.evaluation.markdown import listed, table
from classifier.evaluation.standard import (
    DRAWN_SET,
    EXTERNAL_SETS,
    FOREIGN_SET,
    LABELLED_SETS,
    REFERENCE_SET,
    TRAINING_SETS,
)

CARD_FILE = "MODEL_CARD.md"

_OPENING = """\
Classifies single white blood cells of a stained smear into basophil, eosinophil, lymphocyte,
monocyte and neutrophil, with a calibrated probability, an out-of-distribution score, an embedding
and a map of what it looked at. {size}Input 128x128 RGB, preprocessing `{preprocessing}`.

This card is written by `manage.py evaluate_model --card`, from `metadata.json` and from what that
command measured on the labelled images (`evaluation.json`). Every figure comes from there.
"""
_NOT_FOR = """\
**Not for**: reporting without review; blasts, immature or atypical cells, erythroblasts, platelets
or artefacts (it has no class for them, and may take one for a cell it knows); whole fields or
slides; cells that are not Romanowsky-stained peripheral blood; a laboratory that has not evaluated
it on its own cells (`manage.py evaluate_model FOLDER`). It is not a medical device.
"""
_FILES = """\
`dmfnet.onnx` (input `image`, float32, (n, 128, 128, 3), 0..255; outputs `logits`, `embedding`,
`explanation`, `pooled`), `dmfnet.weights.h5` (`classifier.nn.dmfnet.load_dmfnet`), `decision.npz`
(statistics of the decision), `metadata.json` (digests, thresholds), `evaluation.json` (the figures
of this card, and how the training images look). ONNX and Keras agree to 1e-4 in every probability;
the export checks it. Digest of this version: `{digest}`.
"""


def render_card(metadata: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        metadata: of the model folder.
        figures: of `classifier.evaluation.standard.measure_card`, with `seeds` where several
            trainings were measured.
    """
    network = metadata.get("network")
    size = ""
    if network:
        size = (
            f"{network['parameters'] / 1e6:.2f} million parameters, "
            f"{network['multiply_adds'] / 1e6:.0f} million multiply-adds. "
        )
    version = metadata["preprocessing_version"]
    blocks = [
        f"# DM-FNet {metadata['version']}\n",
        _OPENING.format(size=size, preprocessing=version),
        f"## Intended use\n\n{metadata['intended_use']}\n",
        _NOT_FOR,
        "## Results\n",
        _trained_on(metadata, figures),
        _overview(figures["sets"]),
        *(_by_class(name, figures["sets"]) for name in LABELLED_SETS),
        _goals(figures),
        _foreign(figures),
        _decision(figures),
        _explanation(figures["sets"]),
        describe_seeds(figures.get("seeds") or []),
        describe_speed(figures),
        describe_data(metadata["data"], figures["sets"]),
        describe_training(metadata),
        describe_lineage(metadata.get("lineage")),
        "## Limits\n\n" + "".join(f"- {text}\n" for text in metadata["limitations"]),
        f"## Files\n\n{_FILES.format(digest=figures['model']['digest'])}",
    ]
    return "\n".join(block for block in blocks if block)


def _trained_on(metadata: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    names = metadata["training"].get("sets", list(TRAINING_SETS))
    unseen = [
        name
        for name in EXTERNAL_SETS
        if name in figures["sets"]
        and not any(used.split("/")[0] == name.split("/")[0] for used in names)
    ]
    text = f"Trained on {listed(names)}; thresholds chosen on {REFERENCE_SET}. "
    if unseen:
        text += f"No image of {listed(unseen)}, other laboratories' images, was used in training. "
    return (
        f"{text}Intervals are exact (Clopper-Pearson, 95%). Decided: the share of cells on which "
        f"the model does not abstain.\n"
    )


def _overview(sets: Mapping[str, Any]) -> str:
    rows = []
    for name in LABELLED_SETS:
        if name in sets:
            found = sets[name]
            rows.append(
                (
                    name,
                    proportion(found["accuracy"]),
                    percent(found["balanced_accuracy"]),
                    percent(found["balanced_accuracy_classes_over_two"]),
                    number(found["macro_f1"], 4),
                    number(found["cohen_kappa"]),
                    percent(found["coverage"]["value"]),
                    proportion(found["accuracy_when_decided"]),
                )
            )
    head = (
        "set",
        "accuracy (95% interval)",
        "balanced accuracy",
        "balanced, classes over two images",
        "macro F1",
        "kappa",
        "decided",
        "right when decided",
    )
    return table(head, rows)


def _by_class(name: str, sets: Mapping[str, Any]) -> str:
    if name not in sets:
        return ""
    rows = [
        (
            cell,
            proportion(scores["recall"]),
            proportion(scores["precision_proportion"]),
            number(scores["f1"], 4),
        )
        for cell, scores in sets[name]["classes"].items()
        if scores["n"]
    ]
    head = ("class", "recall (95% interval)", "precision (95% interval)", "F1")
    return f"### {name}, by class\n\n{table(head, rows)}"


def _goals(figures: Mapping[str, Any]) -> str:
    answers = {True: "reached", False: "**missed**", None: NOTHING}
    rows = [(goal.text, goal.measured, answers[goal.met]) for goal in check_goals(figures)]
    return f"### Goals\n\n{table(('goal', 'measured', ''), rows)}"


def _foreign(figures: Mapping[str, Any]) -> str:
    rows = []
    for name in (FOREIGN_SET, DRAWN_SET):
        if name not in figures["sets"]:
            continue
        scores = figures["out_of_distribution_auroc"][name]
        groups = figures["sets"][name]["abstained_by_group"]
        rows += [
            (
                f"{name}: {class_name(group).lower()}",
                proportion(entry),
                number(scores["ood_score"][group], 4),
                number(scores["one_minus_confidence"][group], 4),
            )
            for group, entry in groups.items()
        ]
        rows.append(
            (
                f"{name}, all",
                NOTHING,
                number(scores["ood_score"]["all"], 4),
                number(scores["one_minus_confidence"]["all"], 4),
            )
        )
    text = (
        f"## What it does not know\n\nCells of none of the five classes, and pictures without a "
        f"white cell (`{DRAWN_SET}`: drawn by `classifier.synthetic.no_cells`). What is "
        f"not abstained on gets a class silently. AUROC against {REFERENCE_SET}, of the "
        f"out-of-distribution score and of one minus the confidence."
    )
    if figures.get("foreign_fitted_on_half"):
        text += (
            f" The score was fitted on every other image of {FOREIGN_SET}; these are the others."
        )
    text += "\n\n"
    return text + table(("kind", "abstained", "AUROC, score", "AUROC, confidence"), rows)


def _decision(figures: Mapping[str, Any]) -> str:
    sets, chosen = figures["sets"], figures["conditions"]
    text = (
        f"## Calibration and abstention\n\nTemperature {chosen['temperature']:.3f}; it abstains "
        f"below a probability of {chosen['confidence_threshold']:.4f} and above an "
        f"out-of-distribution score of {chosen['ood_threshold']:.3g}, all chosen on "
        f"{REFERENCE_SET}. Calibration error over 15 bins:\n\n"
    )
    rows = [
        (
            name,
            percent(sets[name]["expected_calibration_error_before"], 2),
            percent(sets[name]["expected_calibration_error"], 2),
        )
        for name in LABELLED_SETS
        if name in sets
    ]
    text += table(("set", "ECE before the temperature", "ECE after"), rows)
    coverages = [row["coverage"] for row in sets[REFERENCE_SET]["risk_coverage"]]
    certain = [
        (name, *(percent(row["value"], 2) for row in sets[name]["risk_coverage"]))
        for name in LABELLED_SETS
        if name in sets
    ]
    head = ("set", *(f"{coverage:.0%}" for coverage in coverages))
    return f"{text}\nAccuracy among the most certain cells, by coverage:\n\n{table(head, certain)}"


def _explanation(sets: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            str(found["n"]),
            percent(found["median"]),
            percent(found["percentile_10"]),
            percent(found["share_under_half"]),
            percent(found["median_cell_area"]),
        )
        for name in LABELLED_SETS
        if name in sets and (found := sets[name]["explanation"])
    ]
    head = ("set", "cells", "median", "10th percentile", "under half", "area of the cell")
    return (
        "## Explanation map\n\nShare of the map's mass on the cell, which is found from its "
        "nucleus without the network. A map that says nothing would have the area of the cell.\n\n"
        + table(head, rows)
    )
