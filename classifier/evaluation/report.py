"""The whole report of an evaluation as one dictionary: what JSON, page and terminal show."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from classifier.artifact import ModelArtifact
from classifier.cpus import usable_cpus
from classifier.evaluation.labels import class_name
from classifier.evaluation.likeness import compare
from classifier.evaluation.markdown import listed
from classifier.evaluation.run import Evaluated, Judged
from classifier.evaluation.summary import separation, summarise

REPORT_VERSION = 1
WORST = 24


def build_report(
    evaluated: Evaluated,
    others: Evaluated | None,
    artifact: ModelArtifact,
    engine: str,
    source: str,
    reference: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Everything about one laboratory's images.

    Args:
        evaluated: the labelled images; those of none of the five classes count as foreign.
        others: further images of none of the five classes.
        artifact: the model.
        engine: name of the engine.
        source: what was evaluated, as the person named it.
        reference: of the model's training images, see `likeness.compare`.
    """
    foreign = Evaluated(
        [*evaluated.foreign.judged, *(others.judged if others else ())],
        others.unread if others else (),
    )
    unread = [*evaluated.unread, *foreign.unread]
    known = Evaluated(evaluated.known.judged, evaluated.unread)
    report: dict[str, Any] = {
        "report_version": REPORT_VERSION,
        "source": source,
        "conditions": conditions(artifact, engine),
        "cells": summarise(known, artifact.temperature),
        "foreign": summarise(foreign, artifact.temperature) if len(foreign) else None,
        "out_of_distribution_auroc": separation(foreign, known)
        if len(foreign) and len(known)
        else None,
        "likeness": compare(known, reference),
        "worst_mistakes": [describe_mistake(one) for one in worst_mistakes(known)],
        "unreadable": [
            {"path": printable(one.file.path), "label": one.file.group, "reason": one.reason}
            for one in unread
        ],
    }
    return report | {"remarks": remarks(report)}


def conditions(artifact: ModelArtifact, engine: str) -> dict[str, Any]:
    """What a result depends on besides the images."""
    return {
        "model": artifact.name,
        "model_version": artifact.version,
        "model_digest": artifact.digest,
        "preprocessing_version": str(artifact.metadata["preprocessing_version"]),
        "confidence_threshold": artifact.confidence_threshold,
        "ood_threshold": artifact.ood_threshold,
        "temperature": artifact.temperature,
        "engine": engine,
        "engine_version": _version(engine),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "usable_cpus": usable_cpus(),
        "command": command_line(),
        "evaluated_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def command_line() -> str:
    """The command as it was typed, without the folder of the interpreter."""
    return shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])


def worst_mistakes(known: Evaluated, count: int = WORST) -> list[Judged]:
    """Wrong ones the model was most certain of; those it did decide first."""
    wrong = [one for one in known.judged if one.prediction.predicted_index != one.file.label]
    wrong.sort(key=lambda one: (bool(one.prediction.reasons), -one.prediction.confidence))
    return wrong[:count]


def describe_mistake(one: Judged) -> dict[str, Any]:
    prediction = one.prediction
    return {
        "path": printable(one.file.path),
        "label": class_name(one.file.group),
        "predicted": prediction.predicted_class,
        "decision": prediction.decision,
        "confidence": round(prediction.confidence, 4),
        "probability_of_label": round(prediction.probabilities[one.file.label], 4),
        "ood_score": round(prediction.ood_score, 3),
        "reasons": list(prediction.reasons),
    }


def remarks(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures has to know, in sentences."""
    cells = report["cells"]
    found = []
    if not cells["n"]:
        found.append("No image of the five classes was read: there is no accuracy to give.")
    else:
        missing = [name for name, scores in cells["classes"].items() if not scores["n"]]
        few = [
            f"{name} ({scores['n']})"
            for name, scores in cells["classes"].items()
            if 0 < scores["n"] < 10
        ]
        if missing:
            found.append(
                f"No image of {listed(missing)}: how well the model knows them here is not "
                f"known, and the balanced figures are over the other classes."
            )
        if few:
            found.append(f"Few images of {listed(few)}: read the intervals, not the percentages.")
        if cells["expected_calibration_error"] is None:
            found.append(f"{cells['n']} cells are too few to judge the calibration.")
    if report["unreadable"]:
        found.append(
            f"{len(report['unreadable'])} files could not be read and are in no figure; they are "
            f"listed with the reason."
        )
    return found


def printable(path: Path) -> str:
    """The path in valid UTF-8: Linux allows any bytes in a file name."""
    return os.fsencode(path).decode("utf-8", "replace")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
