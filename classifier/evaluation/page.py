"""The report as one HTML file that needs nothing else: charts and pictures stand inside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.template import Context, Engine
from django.utils.safestring import mark_safe

from classifier.evaluation.charts import (
    confusion_chart,
    reliability_chart,
    risk_coverage_chart,
    score_chart,
)
from classifier.evaluation.labels import class_name
from classifier.evaluation.report import worst_mistakes
from classifier.evaluation.run import Evaluated, Judged

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(report: Mapping[str, Any], evaluated: Evaluated, others: Evaluated | None) -> str:
    """The HTML of a report.

    Args:
        report: of `classifier.evaluation.report.build_report`.
        evaluated: what it was built from; its small pictures are read now.
        others: likewise.
    """
    engine = Engine(
        dirs=[str(_TEMPLATES)], builtins=["classifier.evaluation.filters"], autoescape=True
    )
    context = {
        **report,
        "charts": _charts(report, evaluated, others),
        "classes": _class_rows(report["cells"]),
        "mistakes": [
            {**described, "picture": _data_uri(one)}
            for described, one in zip(
                report["worst_mistakes"], worst_mistakes(evaluated.known), strict=True
            )
        ],
        "mistakes_in_all": _mistakes_in_all(report["cells"]),
        "foreign_rows": _foreign_rows(report),
    }
    return engine.get_template("report.html").render(Context(context))


def _charts(
    report: Mapping[str, Any], evaluated: Evaluated, others: Evaluated | None
) -> dict[str, str]:
    cells = report["cells"]
    threshold = report["conditions"]["ood_threshold"]
    groups = {}
    if len(evaluated.known):
        groups["the five classes"] = evaluated.known.ood_scores
    for foreign in (evaluated.foreign, others):
        if foreign is not None:
            groups |= {
                class_name(str(group)): foreign.ood_scores[foreign.groups == group]
                for group in sorted(set(foreign.groups.tolist()))
            }
    charts = {"score": score_chart(groups, threshold, "Out-of-distribution score")}
    if cells["n"]:
        charts["confusion"] = confusion_chart(cells["confusion_matrix"], "Confusion matrix")
        charts["risk"] = risk_coverage_chart(
            cells["risk_coverage"], operating_point(cells), "Risk and coverage"
        )
        if cells["expected_calibration_error"] is not None:
            charts["reliability"] = reliability_chart(cells["reliability"], "Reliability")
    # The only markup that is not escaped: made by `charts`, which escapes the texts in it.
    return {name: mark_safe(chart) for name, chart in charts.items()}  # noqa: S308  # nosec


def operating_point(cells: Mapping[str, Any]) -> tuple[float, float] | None:
    """Coverage and risk of the model's own decision; None if it decides nothing."""
    decided = cells["accuracy_when_decided"]["value"]
    return None if decided is None else (cells["coverage"]["value"], 1.0 - decided)


def _class_rows(cells: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, **scores, "auc": cells["roc_auc"][name]}
        for name, scores in cells.get("classes", {}).items()
    ]


def _mistakes_in_all(cells: Mapping[str, Any]) -> int:
    matrix: list[list[int]] = cells.get("confusion_matrix", [])
    return sum(map(sum, matrix)) - sum(row[index] for index, row in enumerate(matrix))


def _foreign_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not report["foreign"]:
        return []
    scores = (report["out_of_distribution_auroc"] or {}).get("ood_score", {})
    return [
        {"name": class_name(group), "abstained": entry, "auroc": scores.get(group)}
        for group, entry in report["foreign"]["abstained_by_group"].items()
    ]


def _data_uri(one: Judged) -> str:
    if one.picture is None:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(one.picture.read_bytes()).decode()}"
