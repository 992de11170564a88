"""A whole small training: interrupted, resumed and exported."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from classifier.artifact import ModelArtifact
from classifier.nn.explained_classifier import ExplainedClassifier
from classifier.nn.gelu import ExactGelu
from classifier.training.calibrate import Decision
from classifier.training.checkpoints import ResumeError, read_curves
from classifier.training.configuration import TrainingConfiguration
from classifier.training.export import ExportError, compare_with_keras, export_onnx, run_onnx
from classifier.training.release import ReleaseNotes, write_release
from classifier.training.train import EpochKeeper, TwoRateAdamW, train
from tests.classifier.test_training_data import write_cells

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras and NumPy 2.4
    "ignore:In the future `np.object`:FutureWarning",  # Keras' ONNX converter
)

CLASSES = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells") / "set", dict.fromkeys(CLASSES, 2)).parent


def _tiny_network(dropout: float = 0.0) -> Any:
    """The inputs and outputs of DM-FNet without its cost."""
    image = keras.Input((128, 128, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = keras.layers.Conv2D(8, 8, strides=8, name="patches")(x)
    head = ExplainedClassifier(5, 256, dropout, name="head")
    return keras.Model(image, head(ExactGelu()(x)))


@pytest.fixture(scope="module")
def network() -> Any:
    keras.utils.set_random_seed(5)
    return _tiny_network()


@pytest.fixture(scope="module")
def release(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    random = np.random.default_rng(0)
    decision = Decision(1.5, np.zeros((5, 256), "f4"), np.eye(256, dtype="f4"), 3.0, 1.0, 0.1)
    notes = ReleaseNotes("0.0.1", {}, [], {}, "tests", [], {})
    images = random.integers(0, 256, (4, 128, 128, 3)).astype(np.uint8)
    write_release(folder, network, decision, notes, images)
    return folder


def _configuration(**changes: Any) -> TrainingConfiguration:
    settings: dict[str, Any] = {
        "train": "set",
        "validation": {"set": "set"},
        "epochs": 3,
        "batch_size": 2,
        "batches_per_epoch": 2,
        "validate_every": 1,
    }
    return TrainingConfiguration(**settings | changes)


def test_the_backbone_learns_slower() -> None:
    backbone, head = (keras.Variable([1.0], name="kernel") for _ in range(2))
    backbone._path, head._path = "block_7_expand/kernel", "head/score/kernel"
    optimizer = TwoRateAdamW(0.1, slow_rate=0.25, weight_decay=0.0)
    optimizer.build([backbone, head])
    optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)])
    moved = [1.0 - float(keras.ops.convert_to_numpy(value)[0]) for value in (backbone, head)]
    np.testing.assert_allclose(moved, [0.025, 0.1], rtol=1e-3)


class _PowerCutError(Exception):
    pass


def test_interrupted_training_goes_on_and_ends_like_an_uninterrupted_one(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifier.training.train.build_dmfnet", _tiny_network)
    configuration = _configuration()
    whole = train(configuration, cells, tmp_path / "whole", verbose=False)

    original = EpochKeeper.on_epoch_begin

    def cut(self: EpochKeeper, epoch: int, logs: Any = None) -> None:
        original(self, epoch, logs)
        if epoch == 2:
            raise _PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(EpochKeeper, "on_epoch_begin", cut)
        with pytest.raises(_PowerCutError):
            train(configuration, cells, tmp_path / "cut", verbose=False)
    assert len(read_curves(tmp_path / "cut")) == 2

    begun: list[int] = []

    def note(self: EpochKeeper, epoch: int, logs: Any = None) -> None:
        begun.append(epoch)
        original(self, epoch, logs)

    monkeypatch.setattr(EpochKeeper, "on_epoch_begin", note)
    resumed = train(configuration, cells, tmp_path / "cut", verbose=False)
    assert begun == [2]
    first, second = _tiny_network(), _tiny_network()
    first.load_weights(whole)
    second.load_weights(resumed)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert [row["epoch"] for row in read_curves(tmp_path / "cut")] == [1, 2, 3]
    with pytest.raises(ResumeError, match="other settings"):
        train(_configuration(learning_rate=1.0), cells, tmp_path / "cut", verbose=False)


def test_onnx_gives_the_numbers_of_keras(network: Any, release: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 128, 128, 3)).astype(np.uint8)
    assert compare_with_keras(network, release / "dmfnet.onnx", images) <= 1e-4
    outputs = run_onnx(release / "dmfnet.onnx", images, batch_size=2)
    expected = network.predict(images.astype("float32"), verbose=0)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-3)


def test_onnx_interface(release: Path) -> None:
    import onnx

    graph = onnx.load(release / "dmfnet.onnx").graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == [
        "logits",
        "embedding",
        "explanation",
        "pooled",
    ]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_export_refuses_a_difference(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifier.training.export.compare_with_keras", lambda *_: 0.01)
    with pytest.raises(ExportError, match=r"1\.00e-02"):
        export_onnx(network, tmp_path / "x.onnx", np.zeros((1, 128, 128, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_release_is_what_the_service_loads(release: Path) -> None:
    artifact = ModelArtifact.load(release)
    assert (artifact.version, artifact.temperature, artifact.ood_scale) == ("0.0.1", 1.5, 3.0)
    assert all(path.stat().st_size < 25_000_000 for path in release.iterdir())


def test_commands_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such folder"):
        call_command("train_model", data=tmp_path / "none", output=tmp_path)
    with pytest.raises(CommandError, match="weights not found"):
        call_command("export_model", tmp_path / "none.h5", output=tmp_path / "o", data=tmp_path)


def test_no_tensorflow_in_the_model_code() -> None:
    folders = (PROJECT / "classifier" / "nn", PROJECT / "classifier" / "training")
    pattern = re.compile(r"^\s*(import|from)\s+(tensorflow|torch|jax)|\btf\.", re.MULTILINE)
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 15
    assert not [path.name for path in files if pattern.search(path.read_text(encoding="utf-8"))]
