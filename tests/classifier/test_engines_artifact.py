"""The model folder: what is verified, and which error says what to do."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.artifact import (
    ModelArtifact,
    ModelFileCorrupt,
    ModelFileMissing,
    ModelIncompatible,
)
from classifier.classes import CELL_CLASSES
from classifier.preprocessing import PREPROCESSING_VERSION

Metadata = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete model folder around a network of four bytes."""
    (tmp_path / "dmfnet.onnx").write_bytes(b"ONNX")
    np.savez(
        tmp_path / "decision.npz",
        class_means=np.zeros((5, 256), np.float32),
        precision=np.eye(256, dtype=np.float32),
    )
    metadata = {
        "name": "DM-FNet",
        "version": "1.2",
        "format_version": 1,
        "files": {},
        "input": {"dtype": "float32"},
        "preprocessing_version": PREPROCESSING_VERSION,
        "classes": list(CELL_CLASSES),
        "temperature": 1.25,
        "ood": {"method": "mahalanobis", "threshold": 1.0, "scale": 20.0},
        "abstain": {"confidence_threshold": 0.7},
    }
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    seal(tmp_path)
    return tmp_path


def seal(folder: Path, change: Callable[[Metadata], object] = lambda metadata: None) -> None:
    """Write the digests of the files as they are now into the metadata, then change it."""
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text())
    for name in ("dmfnet.onnx", "decision.npz"):
        metadata["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    change(metadata)
    path.write_text(json.dumps(metadata))


def test_a_complete_folder_loads(folder: Path) -> None:
    artifact = ModelArtifact.load(folder)
    assert (artifact.name, artifact.version) == ("DM-FNet", "1.2")
    assert (artifact.temperature, artifact.confidence_threshold) == (1.25, 0.7)
    assert (artifact.ood_threshold, artifact.ood_scale) == (1.0, 20.0)
    assert artifact.class_means.shape == (5, 256)
    assert artifact.path("dmfnet.onnx") == folder / "dmfnet.onnx"


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match="There is no model in"):
        ModelArtifact.load(tmp_path / "nowhere")


def test_a_missing_file(folder: Path) -> None:
    (folder / "dmfnet.onnx").unlink()
    with pytest.raises(ModelFileMissing, match=r"dmfnet\.onnx.*WBCLAB_MODEL_DIR"):
        ModelArtifact.load(folder)


def test_a_file_the_model_was_released_without(folder: Path) -> None:
    with pytest.raises(ModelFileMissing, match=r"dmfnet\.weights\.h5.*Choose another engine"):
        ModelArtifact.load(folder).path("dmfnet.weights.h5")


@pytest.mark.parametrize("name", ["dmfnet.onnx", "decision.npz"])
def test_a_changed_file(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelFileCorrupt, match=name):
        ModelArtifact.load(folder)


def test_metadata_that_are_cut_off(folder: Path) -> None:
    path = folder / "metadata.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ModelFileCorrupt, match="not readable JSON"):
        ModelArtifact.load(folder)


def test_statistics_that_are_no_archive(folder: Path) -> None:
    (folder / "decision.npz").write_bytes(b"no archive")
    seal(folder)
    with pytest.raises(ModelFileCorrupt, match="cannot be read"):
        ModelArtifact.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 0),
        ("temperature", "warm"),
        ("temperature", True),
        ("ood", {"threshold": 1.0}),
        ("ood", {"threshold": float("nan"), "scale": 1.0}),
        ("abstain", None),
        ("input", None),
        ("files", {}),
        ("files", ["dmfnet.onnx"]),
    ],
)
def test_metadata_without_a_usable_value(folder: Path, key: str, value: object) -> None:
    seal(folder, lambda metadata: metadata.update({key: value}))
    with pytest.raises(ModelFileCorrupt):
        ModelArtifact.load(folder)


def test_a_file_outside_the_folder_is_not_read(folder: Path) -> None:
    seal(folder, lambda metadata: metadata["files"].update({"../secret": "0" * 64}))
    with pytest.raises(ModelFileCorrupt, match="outside its folder"):
        ModelArtifact.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format_version", 2),
        ("preprocessing_version", "another"),
        ("classes", list(reversed(CELL_CLASSES))),
        ("classes", None),
    ],
)
def test_a_model_for_another_version(folder: Path, key: str, value: object) -> None:
    seal(folder, lambda metadata: metadata.update({key: value}))
    with pytest.raises(ModelIncompatible, match=key):
        ModelArtifact.load(folder)


def test_statistics_of_another_shape(folder: Path) -> None:
    np.savez(folder / "decision.npz", class_means=np.zeros((4, 256)), precision=np.eye(256))
    seal(folder)
    with pytest.raises(ModelIncompatible, match=r"\(4, 256\)"):
        ModelArtifact.load(folder)


def test_the_digest_is_that_of_what_decides(folder: Path) -> None:
    first = ModelArtifact.load(folder).digest
    assert len(first) == 64
    seal(folder, lambda metadata: metadata.update(description="another text"))
    assert ModelArtifact.load(folder).digest == first
    seal(folder, lambda metadata: metadata.update(temperature=1.3))
    recalibrated = ModelArtifact.load(folder).digest
    assert recalibrated != first
    (folder / "dmfnet.onnx").write_bytes(b"ONNY")
    seal(folder)
    assert ModelArtifact.load(folder).digest not in (first, recalibrated)
