"""Fine-tuning on own cells: what is kept aside stays aside, and a worse model is named."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from classifier.artifact import ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.evaluation.comparison import compare_models, mcnemar_exact
from classifier.evaluation.labelled import LabelledFile, read_labelled
from classifier.evaluation.run import Evaluated, Judged
from classifier.nn import POOLED_SIZE
from classifier.nn.explained_classifier import ExplainedClassifier
from classifier.nn.gelu import ExactGelu
from classifier.synthetic import draw_cell, save_jpeg
from classifier.training.calibrate import Decision
from classifier.training.data import load_images
from classifier.training.release import ReleaseNotes, write_release
from classifier.training.split import describe_files, split_files
from classifier.training.train import CROP_SIZE
from tests.classifier.test_evaluate_parts import judged

pytestmark = [
    # A whole training each, on a machine that may be busy.
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation:DeprecationWarning",  # Keras and NumPy 2.4
        "ignore:In the future `np.object`:FutureWarning",  # Keras' ONNX converter
    ),
]

ROOT = Path(__file__).resolve().parents[2]
KEYS = tuple(name.lower() for name in CELL_CLASSES)


def tiny_network(dropout: float = 0.0) -> Any:
    """The inputs and outputs of DM-FNet without its cost."""
    image = keras.Input((128, 128, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = keras.layers.Conv2D(POOLED_SIZE, 8, strides=8, name="patches")(x)
    head = ExplainedClassifier(5, 256, dropout, name="head")
    return keras.Model(image, head(ExactGelu()(x)))


def load_tiny(path: Path) -> Any:
    model = tiny_network()
    model.load_weights(path)
    return model


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn cells of each class."""
    folder = tmp_path_factory.mktemp("cells")
    for name in CELL_CLASSES:
        (folder / name).mkdir()
        for number in range(8):
            save_jpeg(draw_cell(name, 300 + number, 160), folder / name / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released model that knows nothing yet."""
    folder = tmp_path_factory.mktemp("parent")
    keras.utils.set_random_seed(3)
    random = np.random.default_rng(0)
    decision = Decision(1.5, np.zeros((5, 256), "f4"), np.eye(256, dtype="f4"), 3.0, 1.0, 0.1)
    notes = ReleaseNotes("7.0", {}, [], {}, "tests", ["is tiny"], {"7.0": "first"})
    images = random.integers(0, 256, (4, 128, 128, 3)).astype(np.uint8)
    write_release(folder, tiny_network(), decision, notes, images)
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr("classifier.training.train.build_dmfnet", tiny_network)
    monkeypatch.setattr("classifier.training.fine_tuning.load_dmfnet", load_tiny)
    settings.DECODER_PROCESSES = 1
    settings.ENGINE_THREADS = 1


def tune(parent: object, data: object, output: Path, **options: Any) -> tuple[str, str]:
    """What stands on standard output, and the message at the end."""
    out, message = StringIO(), ""
    given = {"data": data, "output": output, "epochs": 1, "seed": 1, "verbosity": 0} | options
    try:
        call_command("train_model", f"--from={parent}", stdout=out, stderr=out, **given)
    except CommandError as error:
        message = str(error)
    return out.getvalue(), message


def test_a_new_model_is_written_complete_and_judged(
    parent: Path, cells: Path, tiny: None, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "platelet").mkdir(parents=True)
    for folder in cells.iterdir():
        (data / folder.name).symlink_to(folder)
    save_jpeg(draw_cell("Monocyte", 1, 64), data / "platelet" / "none_of_the_five.jpg")
    (data / "NEU").mkdir()
    (data / "NEU" / "damaged.jpg").write_text("Dear colleague")
    text, message = tune(parent, data, tmp_path / "new", new_version="7.1")

    old, new = ModelArtifact.load(parent), ModelArtifact.load(tmp_path / "new")
    assert new.version == "7.1" and new.digest != old.digest
    lineage = new.metadata["lineage"]
    assert lineage["parent"] == {"version": "7.0", "digest": old.digest}
    assert lineage["data"]["training"] == dict.fromkeys(KEYS, 6)
    assert lineage["data"]["calibration"] == lineage["data"]["comparison"] == dict.fromkeys(KEYS, 1)
    # Too few cells to calibrate on: what the old model had holds on.
    assert (new.temperature, new.confidence_threshold) == (1.5, 0.1)
    assert new.metadata["changelog"]["7.1"].startswith("Fine-tuned from 7.0")
    assert new.metadata["network"]["parameters"] > 0

    comparison = lineage["comparison"]
    assert set(comparison["classes"]) == set(CELL_CLASSES)
    assert f"{comparison['changes']['p_value']:.3g}" in text
    assert comparison["recommended"] == (comparison["verdict"] == "better")
    assert ("worse" in message) == (comparison["verdict"] == "worse")
    assert "damaged.jpg" in text
    card = (tmp_path / "new" / "MODEL_CARD.md").read_text()
    assert "Fine-tuned from 7.0" in card and "McNemar" in card and "is tiny" in card

    parts = {
        name: {file.path for file in read_labelled(tmp_path / "new" / "training" / f"{name}.csv")}
        for name in ("training", "calibration", "comparison")
    }
    assert [len(part) for part in parts.values()] == [30, 5, 5]
    assert not set.intersection(parts["training"], parts["calibration"] | parts["comparison"])
    assert not parts["calibration"] & parts["comparison"]
    # How its own cells look goes with it, for the evaluation of others.
    figures = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert figures["model"]["digest"] == new.digest
    assert figures["reference"]["appearance"]["n"] == 30

    assert "holds a model already" in tune(parent, data, tmp_path / "new")[1]


def test_only_the_training_part_moves_the_weights(
    parent: Path, cells: Path, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def note(source: Path, size: int, **options: Any) -> Any:
        images = load_images(source, size, **options)
        if size == CROP_SIZE:
            seen.extend(images.paths)
        return images

    monkeypatch.setattr("classifier.training.train.load_images", note)
    tune(parent, cells, tmp_path / "new")
    kept = [
        file.path
        for name in ("calibration", "comparison")
        for file in read_labelled(tmp_path / "new" / "training" / f"{name}.csv")
    ]
    assert len(seen) == 30 and kept and not set(seen) & set(kept)
    # It went on from the parent: an epoch of tiny steps leaves the weights near.
    before, after = (
        load_tiny(parent / "dmfnet.weights.h5"),
        load_tiny(tmp_path / "new" / "dmfnet.weights.h5"),
    )
    for one, other in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_what_is_missing_is_said(parent: Path, cells: Path, tiny: None, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in ("Lymphocyte", "Neutrophil"):
        (few / name).symlink_to(cells / name)
    _, message = tune(parent, few, tmp_path / "a")
    assert "Basophil 0, Eosinophil 0, Monocyte 0" in message and "--mix" in message
    assert "Known: " in tune("9.9.9", few, tmp_path / "a")[1]
    assert "between 0.1 and 0.6" in tune(parent, cells, tmp_path / "a", held_out=0.9)[1]
    with pytest.raises(CommandError, match="--data"):
        call_command("train_model", f"--from={parent}")
    # The classes that are missing may come from elsewhere; they are never judged on.
    text, message = tune(parent, few, tmp_path / "b", mix=[cells])
    assert "Held out cells" in text, message
    lineage = ModelArtifact.load(tmp_path / "b").metadata["lineage"]
    assert lineage["data"]["mixed_in"] == dict.fromkeys(KEYS, 8)
    assert lineage["data"]["comparison"]["monocyte"] == 0


def test_without_the_training_packages_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['keras'] = None;"
        "from django.core.management import execute_from_command_line as run;"
        "run(['manage.py', 'train_model'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "wbclab.settings", "WBCLAB_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "requirements/train.txt" in done.stderr


def _files(folder: Path, counts: Counter[str], specimens: int = 0) -> list[LabelledFile]:
    files = []
    for key, count in counts.items():
        for number in range(count):
            path = folder / f"{key}-{number}.bin"
            path.write_bytes(f"{key} {number}".encode())
            specimen = f"S{number % specimens}" if specimens else ""
            files.append(LabelledFile(path, key, KEYS.index(key), specimen))
    return files


COUNTS = Counter(basophil=6, eosinophil=20, lymphocyte=60, monocyte=20, neutrophil=94)


def test_the_split_is_stratified_seeded_and_blind_to_the_order(tmp_path: Path) -> None:
    files = _files(tmp_path, COUNTS)
    split = split_files(files, 0.3, seed=4)
    again = split_files(files[::-1], 0.3, seed=4)
    other = split_files(files, 0.3, seed=5)
    assert {f.path for f in split.training} == {f.path for f in again.training}
    assert {f.path for f in split.training} != {f.path for f in other.training}
    kept = Counter(f.group for f in [*split.calibration, *split.comparison])
    assert kept == Counter({key: round(0.3 * count) for key, count in COUNTS.items()})
    assert Counter(f.group for f in split.calibration)["neutrophil"] == 9


def test_cells_of_one_specimen_and_copies_stay_together(tmp_path: Path) -> None:
    files = _files(tmp_path, COUNTS, specimens=12)
    split = split_files(files, 0.3, seed=1)
    parts = [{f.specimen for f in p} for p in (split.training, split.calibration, split.comparison)]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert 0.15 < len([*split.calibration, *split.comparison]) / len(files) < 0.45

    alone = _files(tmp_path, Counter(neutrophil=10))
    copies = []
    for file in alone:
        copy = tmp_path / f"copy-{file.path.name}"
        copy.write_bytes(file.path.read_bytes())
        copies.append(dataclasses.replace(file, path=copy))
    split = split_files([*alone, *copies], 0.3, seed=2)
    names = [
        {f.path.name.removeprefix("copy-") for f in part}
        for part in (split.training, split.calibration, split.comparison)
    ]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert describe_files(alone) == describe_files(copies) != describe_files(alone[1:])


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (0, 0, 1.0),
        (0, 5, 0.0625),
        (5, 0, 0.0625),
        (2, 12, 0.01293),
        (5, 5, 1.0),
        (900, 1100, 8.5e-6),
    ],
)
def test_mcnemar_known_values(lost: int, won: int, p: float) -> None:
    assert mcnemar_exact(lost, won) == pytest.approx(p, rel=0.02)


def _answers(*predicted: int) -> Evaluated:
    """Answers to eight neutrophils and then lymphocytes."""
    labels = [4] * 8 + [2] * (len(predicted) - 8)
    answers: list[Judged] = [judged(t, p) for t, p in zip(labels, predicted, strict=True)]
    return Evaluated(answers)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ([3] * 8 + [2, 2], [4] * 8 + [2, 2], "better"),
        ([3] * 3 + [4] * 5 + [2, 2], [4] * 8 + [2, 2], "not shown to be better"),
        ([4] * 8 + [2, 2], [4] * 8 + [2, 2], "not shown to be better"),
        ([4] * 8 + [2, 2], [4] * 7 + [3, 2, 2], "worse"),
        # It gains on the common class what it loses on the rare one.
        ([3] * 3 + [4] * 5 + [2, 2], [4] * 8 + [3, 3], "worse"),
        # Significantly worse on a class, better in all.
        ([3] * 8 + [2] * 6, [4] * 8 + [3] * 6, "worse"),
    ],
)
def test_verdicts(old: list[int], new: list[int], verdict: str) -> None:
    comparison = compare_models(_answers(*old), _answers(*new), (1.0, 1.0))
    assert comparison["verdict"] == verdict, comparison["reason"]
    assert comparison["recommended"] == (verdict == "better")


def test_different_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same images"):
        compare_models(_answers(*[4] * 8), _answers(*[4] * 8, 2), (1.0, 1.0))
    with pytest.raises(ValueError, match="no images"):
        compare_models(Evaluated([]), Evaluated([]), (1.0, 1.0))
