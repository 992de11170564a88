"""The folder a model is shipped in: weights, decision, metadata and card."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model
from numpy.typing import NDArray

from classifier.classes import CELL_CLASSES
from classifier.nn import MODEL_NAME
from classifier.nn.complexity import count_multiply_adds
from classifier.preprocessing import INPUT_SIZE, PREPROCESSING_VERSION
from classifier.training.calibrate import Decision
from classifier.training.export import export_onnx

FORMAT_VERSION = 1
ONNX_FILE = "dmfnet.onnx"
WEIGHTS_FILE = "dmfnet.weights.h5"
DECISION_FILE = "decision.npz"
METADATA_FILE = "metadata.json"


@dataclass(frozen=True)
class ReleaseNotes:
    """What a person has to say about a model version; see the keys of ``metadata.json``.

    Attributes:
        lineage: version and digest of the model it was fine-tuned from, and what of; None for a
            model trained from the start.
    """

    version: str
    metrics: dict[str, Any]
    data: list[dict[str, Any]]
    training: dict[str, Any]
    intended_use: str
    limitations: list[str]
    changelog: dict[str, str]
    lineage: dict[str, Any] | None = None


def write_release(
    folder: Path,
    model: Model,
    decision: Decision,
    notes: ReleaseNotes,
    images: NDArray[np.uint8],
) -> None:
    """Write all machine-read files of a model version.

    The files are made in a scratch folder first; the metadata, which names the digests of the
    others, is moved last.

    Args:
        folder: Destination; existing files of these names are replaced.
        model: DM-FNet with its weights.
        decision: Temperature, distances and thresholds.
        notes: The rest of the metadata.
        images: Prepared images on which ONNX and Keras are compared.

    Raises:
        ExportError: If the ONNX file does not give the numbers of the Keras model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        export_onnx(model, scratch / ONNX_FILE, images, temperature=decision.temperature)
        model.save_weights(scratch / WEIGHTS_FILE)
        np.savez_compressed(scratch / DECISION_FILE, **_statistics(decision))
        files = [ONNX_FILE, WEIGHTS_FILE, DECISION_FILE]
        digests = {file: _sha256(scratch / file) for file in files}
        network = {
            "parameters": int(model.count_params()),
            "multiply_adds": count_multiply_adds(model),
        }
        metadata = _metadata(decision, notes, digests) | {"network": network}
        if notes.lineage:
            metadata["lineage"] = notes.lineage
        text = json.dumps(metadata, indent=2, ensure_ascii=False)
        (scratch / METADATA_FILE).write_text(text + "\n", encoding="utf-8")
        for file in (*files, METADATA_FILE):
            shutil.move(scratch / file, folder / file)


def _statistics(decision: Decision) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "class_means": decision.class_means,
        "precision": decision.precision,
    }
    if decision.foreign is not None:
        arrays["foreign_direction"] = decision.foreign.direction.astype(np.float32)
        arrays["foreign_offset"] = np.float64(decision.foreign.offset)
    return arrays


def _metadata(decision: Decision, notes: ReleaseNotes, digests: dict[str, str]) -> dict[str, Any]:
    return {
        "name": MODEL_NAME,
        "version": notes.version,
        "format_version": FORMAT_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "files": digests,
        "input": {
            "height": INPUT_SIZE,
            "width": INPUT_SIZE,
            "channels": 3,
            "dtype": "float32",
            "range": [0, 255],
        },
        "preprocessing_version": PREPROCESSING_VERSION,
        "classes": list(CELL_CLASSES),
        "temperature": decision.temperature,
        "ood": {
            "method": "mahalanobis" + (" and known foreign cells" if decision.foreign else ""),
            "features": "pooled",
            "threshold": decision.ood_threshold,
            "scale": decision.scale,
        },
        "abstain": {"confidence_threshold": decision.confidence_threshold},
        "metrics": notes.metrics,
        "data": notes.data,
        "training": notes.training,
        "intended_use": notes.intended_use,
        "limitations": notes.limitations,
        "changelog": notes.changelog,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
