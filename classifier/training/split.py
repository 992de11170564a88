"""Which cells are trained on, which calibrate, and which judge: nothing is ever in two parts."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.evaluation.labelled import LabelledFile
from classifier.evaluation.labels import CLASS_KEYS

# Of what is held out, the share that calibrates; the rest only ever judges.
_CALIBRATION_SHARE = 1 / 3


@dataclass(frozen=True)
class Split:
    """Three parts of a laboratory's cells."""

    training: list[LabelledFile]
    calibration: list[LabelledFile]
    comparison: list[LabelledFile]


def split_files(files: Sequence[LabelledFile], held_out: float, seed: int) -> Split:
    """Divide files by class, keeping together what comes from one specimen or is the same file.

    The same files, share and seed give the same parts, whatever the order of the files.

    Args:
        files: all of one of the five classes.
        held_out: share of each class that is not trained on.
        seed: of the shuffling.
    """
    units = _units(files)
    random = np.random.default_rng(seed)
    order = [units[index] for index in random.permutation(len(units))]
    training, kept = _divide(order, held_out)
    comparison, calibration = _divide(kept, _CALIBRATION_SHARE)
    return Split(
        *([f for unit in part for f in unit] for part in (training, calibration, comparison))
    )


def _units(files: Iterable[LabelledFile]) -> list[list[LabelledFile]]:
    units: dict[tuple[str, str], list[LabelledFile]] = {}
    for file in files:
        key = ("specimen", file.specimen) if file.specimen else ("content", sha256(file.path))
        units.setdefault(key, []).append(file)
    return [units[key] for key in sorted(units)]


def _divide(
    units: Sequence[list[LabelledFile]], share: float
) -> tuple[list[list[LabelledFile]], list[list[LabelledFile]]]:
    """Units in order: to the second part as long as that brings it nearer to its share by class."""
    counts = [_counts(unit) for unit in units]
    wanted = np.round(share * np.sum(counts, axis=0)) if units else np.zeros(len(CLASS_KEYS))
    first, second = [], []
    for unit, count in zip(units, counts, strict=True):
        if np.abs(wanted - count).sum() < np.abs(wanted).sum():
            second.append(unit)
            wanted = wanted - count
        else:
            first.append(unit)
    return first, second


def _counts(files: Iterable[LabelledFile]) -> NDArray[np.int64]:
    return np.bincount([file.label for file in files], minlength=len(CLASS_KEYS))


def sha256(path: Path) -> str:
    """Digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_files(files: Iterable[LabelledFile]) -> str:
    """One digest over labels and contents: the same for the same cells under other names."""
    lines = sorted(f"{file.group} {sha256(file.path)}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_table(files: Iterable[LabelledFile], path: Path) -> Path:
    """The files as a table that `evaluate_model` and the training read."""
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["path", "label", "specimen"])
        writer.writerows([str(f.path.resolve()), f.group, f.specimen] for f in files)
    return path
