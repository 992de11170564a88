"""The shipped model: its files agree with each other and do what the card says."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from classifier.artifact import DEFAULT_FOLDER, ModelArtifact
from classifier.evaluation.standard import REFERENCE_SET
from classifier.nn.dmfnet import load_dmfnet
from classifier.training.data import data_folder, load_images
from classifier.training.export import compare_with_keras

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # Keras and NumPy 2.4
)


@pytest.fixture(scope="module")
def network() -> Any:
    return load_dmfnet(DEFAULT_FOLDER / "dmfnet.weights.h5")


def _real_images() -> Path:
    folder = data_folder() / REFERENCE_SET
    if not folder.is_dir():
        message = f"the labelled images are not at {folder}; set WBCLAB_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


def test_files_are_complete_and_small() -> None:
    artifact = ModelArtifact.load(DEFAULT_FOLDER)
    assert set(artifact.files) == {"dmfnet.onnx", "dmfnet.weights.h5", "decision.npz"}
    assert all(path.stat().st_size < 25_000_000 for path in DEFAULT_FOLDER.iterdir())
    assert (DEFAULT_FOLDER / "MODEL_CARD.md").is_file()


def test_runtimes_need_no_rare_operator() -> None:
    graph = onnx.load(DEFAULT_FOLDER / "dmfnet.onnx").graph
    operators = {node.op_type for node in graph.node}
    assert {"Erf", "Gelu"} & operators
    assert not {"Erfc", "Bitcast"} & operators


def test_onnx_equals_keras(network: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3)).astype(np.uint8)
    assert compare_with_keras(network, DEFAULT_FOLDER / "dmfnet.onnx", images) <= 1e-4


@pytest.mark.data
def test_real_cells(network: Any, tmp_path: Path) -> None:
    source = _real_images()
    table = tmp_path / "some.csv"
    lines = ["path,label"]
    for group in sorted(source.iterdir()):
        lines += [f"{path},{group.name}" for path in sorted(group.iterdir())[:8]]
    table.write_text("\n".join(lines), encoding="utf-8")
    data = load_images(table, 128)
    path = DEFAULT_FOLDER / "dmfnet.onnx"
    assert compare_with_keras(network, path, data.images) <= 1e-4
    logits = network.predict(data.images.astype(np.float32), verbose=0)["logits"]
    assert (logits.argmax(axis=1) == data.labels).sum() >= 38
