"""Writes a model card anew: its figures, its text and its charts, from the data folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.evaluation.card import CARD_FILE, render_card
from classifier.evaluation.charts import (
    confusion_chart,
    curves_chart,
    reliability_chart,
    risk_coverage_chart,
    score_chart,
    standalone,
)
from classifier.evaluation.evaluate import FIGURES_FILE, Evaluator, write_json
from classifier.evaluation.labelled import LabelError
from classifier.evaluation.page import operating_point
from classifier.evaluation.run import Evaluated
from classifier.evaluation.standard import (
    LABELLED_SETS,
    NamedProgress,
    measure_card,
    seed_row,
)

CURVES_FILE = "learning_curves.csv"
CARD_COMMAND = "python manage.py evaluate_model --card"


def write_card(
    evaluator: Evaluator,
    data: Path,
    charts: Path,
    seeds: Sequence[Path] = (),
    progress: NamedProgress = lambda name, total: lambda count: None,
) -> dict[str, Any]:
    """Measure a model and write `evaluation.json` and `MODEL_CARD.md` into its folder.

    Args:
        evaluator: with the model.
        data: the data folder.
        charts: folder for the charts.
        seeds: `evaluation.json` of trainings with other seeds, or the folders that hold them.
        progress: see `measure_card`.

    Raises:
        LabelError: sets or the figures of another seed are missing.
    """
    others = [_read_figures(path) for path in seeds]
    figures, sets = measure_card(evaluator, data, progress)
    # As anybody would type it: the card is not about the folders of one machine.
    figures["conditions"]["command"] = CARD_COMMAND
    if others:
        figures["seeds"] = [seed_row(figures), *map(seed_row, others)]
    folder = evaluator.artifact.folder
    write_json(folder / FIGURES_FILE, figures)
    card = render_card(evaluator.artifact.metadata, figures)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    _write_charts(figures, sets, evaluator.artifact.ood_threshold, charts)
    curves = _read_curves(folder / CURVES_FILE)
    if curves:
        _save(charts / "learning_curves.svg", curves_chart(curves, "Learning curves"))
    return figures


def _read_figures(path: Path) -> dict[str, Any]:
    file = path / FIGURES_FILE if path.is_dir() else path
    try:
        figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        seed_row(figures)
    except (OSError, ValueError, KeyError) as error:
        raise LabelError(
            f"{path} holds no figures of a training ({error!r}). Measure it first: "
            f"manage.py evaluate_model --card --model FOLDER."
        ) from error
    return figures


def _write_charts(
    figures: Mapping[str, Any], sets: Mapping[str, Evaluated], threshold: float, charts: Path
) -> None:
    charts.mkdir(parents=True, exist_ok=True)
    for name in LABELLED_SETS:
        if name not in sets:
            continue
        found, stem = figures["sets"][name], name.replace("/", "_")
        _save(charts / f"{stem}_confusion.svg", confusion_chart(found["confusion_matrix"], name))
        risk = risk_coverage_chart(found["risk_coverage"], operating_point(found), name)
        _save(charts / f"{stem}_risk_coverage.svg", risk)
        _save(charts / f"{stem}_reliability.svg", reliability_chart(found["reliability"], name))
    scores = {name: found.ood_scores for name, found in sets.items()}
    chart = score_chart(scores, threshold, "Out-of-distribution score")
    _save(charts / "out_of_distribution.svg", chart)


def _save(path: Path, chart: str) -> None:
    path.write_text(standalone(chart), encoding="utf-8")


def _read_curves(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(lines)
        ]
