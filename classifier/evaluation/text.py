"""The report for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from classifier.classes import CELL_CLASSES
from classifier.evaluation.filters import NOTHING, number, percent, proportion
from classifier.evaluation.labels import class_name

_MOST_UNREADABLE = 10
_MOST_MISTAKES = 10


def format_report(report: Mapping[str, Any]) -> str:
    """The whole report as lines."""
    conditions = report["conditions"]
    lines = [
        f"Model {conditions['model']} {conditions['model_version']} "
        f"({conditions['model_digest'][:12]}), {conditions['engine']}",
        f"{report['source']}: {report['cells']['n']} cells of the five classes",
    ]
    lines += [f"Note: {remark}" for remark in report["remarks"]]
    if report["cells"]["n"]:
        lines += ["", *_cells(report["cells"])]
    if report["foreign"]:
        lines += ["", *_foreign(report)]
    likeness = report["likeness"]
    lines += ["", "Do these images look like those the model was trained on?"]
    lines += [f"  {likeness['text']}", *(f"  - {advice}" for advice in likeness["advice"])]
    lines += _mistakes(report)
    lines += _unreadable(report["unreadable"])
    return "\n".join(lines)


def _cells(cells: Mapping[str, Any]) -> list[str]:
    lines = [
        f"accuracy            {proportion(cells['accuracy'])}",
        f"balanced accuracy   {percent(cells['balanced_accuracy'], 2)}, macro F1 "
        f"{number(cells['macro_f1'])}, kappa {number(cells['cohen_kappa'])}",
        f"calibration (ECE)   {percent(cells['expected_calibration_error'], 2)}; without "
        f"temperature {percent(cells['expected_calibration_error_before'], 2)}",
        f"decided             {proportion(cells['coverage'])}",
        f"right when decided  {proportion(cells['accuracy_when_decided'])}",
        "",
        f"{'class':<12} {'cells':>6}  {'recall':<36} {'precision':<36} F1",
    ]
    for name, scores in cells["classes"].items():
        recall, precision = proportion(scores["recall"]), proportion(scores["precision_proportion"])
        lines.append(
            f"{name:<12} {scores['n']:>6}  {recall:<36} {precision:<36} {number(scores['f1'])}"
        )
    lines += ["", "confusion (row: your class, column: the model's)"]
    lines.append(" " * 13 + " ".join(f"{name[:8]:>8}" for name in CELL_CLASSES))
    for name, row in zip(CELL_CLASSES, cells["confusion_matrix"], strict=True):
        lines.append(f"{name:<12} " + " ".join(f"{count:>8}" for count in row))
    shown = [row for row in cells["risk_coverage"] if row["coverage"] in (0.8, 0.9, 0.95, 1.0)]
    right = ", ".join(f"{row['coverage']:.0%} {percent(row['value'], 2)}" for row in shown)
    lines += ["", f"right among the most certain cells: {right}"]
    if cells["explanation"]:
        shares = cells["explanation"]
        lines.append(
            f"explanation on the cell: median {percent(shares['median'])}, 10th percentile "
            f"{percent(shares['percentile_10'])}, under half in "
            f"{percent(shares['share_under_half'])} (the cell's area: "
            f"{percent(shares['median_cell_area'])})"
        )
    return lines


def _foreign(report: Mapping[str, Any]) -> list[str]:
    scores = (report["out_of_distribution_auroc"] or {}).get("ood_score", {})
    lines = ["cells of none of the five classes: abstained; AUROC against the cells above"]
    for group, entry in report["foreign"]["abstained_by_group"].items():
        area = scores.get(group)
        lines.append(f"  {class_name(group):<22} {proportion(entry)}; {number(area, 4)}")
    return lines


def _mistakes(report: Mapping[str, Any]) -> list[str]:
    worst = report["worst_mistakes"][:_MOST_MISTAKES]
    if not worst:
        return []
    lines = ["", "worst mistakes (with pictures in the HTML)"]
    for one in worst:
        held = f"abstained: {', '.join(one['reasons'])}" if one["reasons"] else "decided"
        lines.append(
            f"  {one['label']} called {one['predicted']} ({one['confidence']:.1%}, {held}): "
            f"{one['path']}"
        )
    return lines


def _unreadable(files: list[Mapping[str, Any]]) -> list[str]:
    if not files:
        return []
    lines = ["", f"{len(files)} files could not be read"]
    lines += [f"  {one['path']}: {one['reason']}" for one in files[:_MOST_UNREADABLE]]
    if len(files) > _MOST_UNREADABLE:
        lines.append(f"  {NOTHING} and {len(files) - _MOST_UNREADABLE} more, all in the HTML")
    return lines
