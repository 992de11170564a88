"""State of a training on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model

from classifier.training.configuration import TrainingConfiguration

STATE_FILE = "state.npz"
CONFIGURATION_FILE = "configuration.json"
CURVES_FILE = "learning_curves.csv"


class ResumeError(Exception):
    """The checkpoint belongs to another training."""


def save_state(folder: Path, model: Model, epochs_done: int) -> None:
    """Write all variables of the model and its optimiser; a crash leaves the previous state."""
    arrays: dict[str, Any] = {f"{i}": value for i, value in enumerate(_values(model))}
    arrays["epochs_done"] = np.array(epochs_done)
    temporary = folder / f"{STATE_FILE}.part"
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / STATE_FILE)


def restore_state(folder: Path, model: Model) -> int:
    """Read the variables back and return the number of finished epochs (0 without a state).

    Raises:
        ResumeError: If the state does not fit the model.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return 0
    variables = [*model.variables, *model.optimizer.variables]
    with np.load(path) as state:
        if len(state.files) != len(variables) + 1:
            raise ResumeError(f"{path} belongs to another model")
        for index, variable in enumerate(variables):
            value = state[f"{index}"]
            if value.shape != tuple(variable.shape):
                raise ResumeError(f"{path} belongs to another model ({variable.path})")
            variable.assign(value)
        return int(state["epochs_done"])


def _values(model: Model) -> list[Any]:
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def claim_folder(folder: Path, configuration: TrainingConfiguration) -> None:
    """Create the folder, or make sure that it holds a training with the same configuration.

    Only the number of epochs may differ: a training may be shortened or go on for longer.

    Raises:
        ResumeError: If the folder holds a training with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIGURATION_FILE
    settings = json.loads(json.dumps(asdict(configuration)))
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    if known | {"epochs": configuration.epochs} != settings:
        raise ResumeError(
            f"{folder} holds a training with other settings; choose another output folder"
        )
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def read_curves(folder: Path) -> list[dict[str, float]]:
    """Read the learning curves; values that were not measured in an epoch are left out."""
    path = folder / CURVES_FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(lines)
        ]


def write_curves(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write the learning curves, one row per epoch."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / CURVES_FILE).open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
