"""The engines: same numbers from each, on real images; batches of any size."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from django.conf import settings

from classifier import engines
from classifier.artifact import KERAS_WEIGHTS_FILE, ModelArtifact
from classifier.cpus import running_threads
from classifier.decision import CellPrediction
from classifier.engines import Engine, create_engine
from classifier.engines.base import ImageArray
from classifier.imaging.decode import prepare_file

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("WBCLAB_DATA", ROOT.parent / "shared" / "data"))
NAMES = ("onnxruntime", "tensorflow")
# More than any engine computes at once, and no multiple of anything.
MANY = 37


@pytest.fixture(scope="module")
def artifact() -> ModelArtifact:
    return ModelArtifact.load(settings.MODEL_DIR)


@pytest.fixture(scope="module")
def loaded(artifact: ModelArtifact) -> dict[str, Engine]:
    found = {}
    for name in NAMES:
        found[name] = create_engine(name, threads=2)
        found[name].load(artifact)
    return found


@pytest.fixture(scope="module")
def noise() -> ImageArray:
    generator = np.random.default_rng(7)
    return generator.integers(0, 256, (MANY, 128, 128, 3), dtype=np.uint8)


def probabilities(predictions: Sequence[CellPrediction]) -> npt.NDArray[np.float64]:
    return np.array([prediction.probabilities for prediction in predictions])


def assert_same(first: Sequence[CellPrediction], second: Sequence[CellPrediction]) -> None:
    np.testing.assert_allclose(probabilities(first), probabilities(second), rtol=0, atol=1e-4)
    for one, other in zip(first, second, strict=True):
        assert (one.decision, one.reasons) == (other.decision, other.reasons)
        assert one.ood_score == pytest.approx(other.ood_score, rel=1e-3)
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=1e-2, atol=1e-2)
        # One step of 255 is rounding; more may only be where two classes are level.
        difference = np.abs(one.explanation.astype(int) - other.explanation.astype(int))
        assert difference.max() <= 2


def sample(folder: Path, count: int) -> ImageArray:
    """Every n-th image below a folder, prepared."""
    paths = sorted(folder.rglob("*.jpg"))
    chosen = paths[:: max(1, len(paths) // count)][:count]
    return np.stack([prepare_file(path).pixels for path in chosen])


@pytest.mark.data
@pytest.mark.parametrize("source", ["pbc/val", "bccd"])
def test_the_engines_agree_on_real_images(source: str, loaded: dict[str, Engine]) -> None:
    if not (DATA / source).is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the labelled images are not at {DATA}")
        pytest.skip(f"the labelled images are not at {DATA}; set WBCLAB_DATA")
    images = sample(DATA / source, 100)
    assert len(images) == 100
    assert_same(loaded["onnxruntime"].classify(images), loaded["tensorflow"].classify(images))


@pytest.mark.parametrize("name", NAMES)
def test_no_images(name: str, loaded: dict[str, Engine]) -> None:
    assert loaded[name].classify(np.zeros((0, 128, 128, 3), np.uint8)) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, MANY])
def test_the_size_of_the_batch_does_not_matter(
    name: str, count: int, loaded: dict[str, Engine], noise: ImageArray
) -> None:
    together = loaded[name].classify(noise[:count])
    assert len(together) == count
    one_by_one = [loaded[name].classify(noise[i : i + 1])[0] for i in (0, count - 1)]
    np.testing.assert_allclose(
        probabilities([together[0], together[-1]]), probabilities(one_by_one), atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("announced", "come"), [(10, 10), (10, 7), (10, 1), (4, 0), (1, 1)])
def test_images_may_come_one_by_one_and_fewer_than_announced(
    name: str, announced: int, come: int, loaded: dict[str, Engine], noise: ImageArray
) -> None:
    computation = loaded[name].begin(announced)
    for image in noise[:come]:
        computation.add(image)
    assert_same(computation.predictions(), loaded[name].classify(noise[:come]))
    assert (computation.seconds > 0) == (come > 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_engine_waits_for_images_is_not_its_time(
    name: str, loaded: dict[str, Engine], noise: ImageArray
) -> None:
    loaded[name].classify(noise[:2])
    computation = loaded[name].begin(2)
    computation.add(noise[0])
    time.sleep(2)
    computation.add(noise[1])
    computation.predictions()
    assert 0 < computation.seconds < 1.5


@pytest.mark.parametrize("running", [1, 100])
def test_one_image_is_computed_alike_on_free_and_on_busy_cores(
    running: int, loaded: dict[str, Engine], noise: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = loaded["onnxruntime"].classify(noise[:2])[0]
    monkeypatch.setattr("classifier.engines.onnx_runtime.running_threads", lambda: running)
    assert_same(loaded["onnxruntime"].classify(noise[:1]), [expected])


def test_the_parts_come_back_in_order(loaded: dict[str, Engine], noise: ImageArray) -> None:
    forth = loaded["onnxruntime"].classify(noise)
    back = loaded["onnxruntime"].classify(noise[::-1])
    assert_same(forth, back[::-1])
    assert len({prediction.embedding.tobytes() for prediction in forth}) == MANY


def test_what_is_begun_ahead_does_not_wait_for_what_came_before(
    artifact: ModelArtifact, noise: ImageArray
) -> None:
    engine = create_engine("onnxruntime", threads=1)
    engine.load(artifact)
    many, few = engine.begin(MANY), engine.begin(4, ahead=True)
    for image in noise:
        many.add(image)
    ended: list[str] = []

    def wait_for_many() -> None:
        many.predictions()
        ended.append("many")

    waiting = threading.Thread(target=wait_for_many)
    waiting.start()
    for image in noise[:4]:
        few.add(image)
    found = few.predictions()
    ended.append("few")
    waiting.join()
    assert ended == ["few", "many"]
    assert_same(found, many.predictions()[:4])


def test_running_threads_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert running_threads() >= 1
    monkeypatch.setattr("classifier.cpus._LOAD", tmp_path / "loadavg")
    assert running_threads() > 1000
    (tmp_path / "loadavg").write_text("0.20 0.18 0.12 3/80 11206\n")
    assert running_threads() == 3


def test_a_worker_of_this_engine_is_small() -> None:
    code = (
        "import numpy as np, pathlib\n"
        "from classifier.artifact import ModelArtifact\n"
        "from classifier.engines.onnx_runtime import OnnxRuntimeEngine\n"
        "engine = OnnxRuntimeEngine(4)\n"
        "engine.load(ModelArtifact.load())\n"
        "engine.warm_up()\n"
        "engine.classify(np.zeros((64, 128, 128, 3), np.uint8))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) // 1024)"
    )
    megabytes = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    # The rest of a worker's 250 MB is Django's.
    assert int(megabytes) < 190


@pytest.mark.parametrize("name", NAMES)
def test_every_prediction_is_complete(
    name: str, loaded: dict[str, Engine], noise: ImageArray
) -> None:
    engine = loaded[name]
    engine.warm_up([1, 2])
    assert engine.name == name
    for prediction in engine.classify(noise[:4]):
        assert sum(prediction.probabilities) == pytest.approx(1.0)
        assert prediction.embedding.shape == (256,)
        assert (prediction.explanation.dtype, prediction.explanation.shape) == (np.uint8, (16, 16))
        assert prediction.explanation.max() > 200


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 64, 64, 3), np.uint8),
        np.zeros((128, 128, 3), np.uint8),
        np.zeros((1, 128, 128, 3), np.float32),
    ],
)
def test_what_is_no_batch_of_prepared_images_is_refused(
    name: str, images: ImageArray, loaded: dict[str, Engine]
) -> None:
    with pytest.raises(ValueError, match="received"):
        loaded[name].classify(images)
    with pytest.raises(ValueError, match="received"):
        loaded[name].begin(2).add(images[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_to_be_loaded_first(name: str) -> None:
    with pytest.raises(RuntimeError, match="load a model"):
        create_engine(name).classify(np.zeros((1, 128, 128, 3), np.uint8))
    with pytest.raises(RuntimeError, match="load a model"):
        create_engine(name).begin(1)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ValueError, match="abacus"):
        create_engine("abacus")


def test_without_a_gpu_the_automatic_choice_is_onnx_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "_GPU_DEVICES", ())
    assert create_engine().name == "onnxruntime"


@pytest.mark.parametrize(("hidden", "expected"), [("-1", "onnxruntime"), ("0", "tensorflow")])
def test_with_a_gpu_it_is_tensorflow_unless_the_gpu_is_hidden(
    hidden: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "_GPU_DEVICES", (tmp_path,))
    monkeypatch.setattr("classifier.engines.tensorflow.visible_gpus", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert create_engine().name == expected


def test_a_driver_without_a_gpu_for_tensorflow_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "_GPU_DEVICES", (tmp_path,))
    monkeypatch.setattr("classifier.engines.tensorflow.visible_gpus", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert create_engine().name == "onnxruntime"


def test_serving_on_the_cpu_loads_no_tensorflow(artifact: ModelArtifact) -> None:
    program = (
        "import sys\n"
        "from classifier.artifact import ModelArtifact\n"
        "from classifier.engines import create_engine\n"
        "import classifier.decision, classifier.imaging.intake, classifier.imaging.pool\n"
        f"create_engine('auto').load(ModelArtifact.load({str(artifact.folder)!r}))\n"
        "print(*sys.modules)"
    )
    imported = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"tensorflow", "keras", "django"} & set(imported)


def test_numpy_of_a_worker_starts_no_threads() -> None:
    program = (
        "import os, django\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'wbclab.settings'\n"
        "django.setup()\n"
        "import wbclab.celery, specimens.tasks, numpy\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    environment = {key: value for key, value in os.environ.items() if "_NUM_THREADS" not in key}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"1\n"


def test_the_shipped_model_has_the_weights_for_tensorflow(artifact: ModelArtifact) -> None:
    assert artifact.path(KERAS_WEIGHTS_FILE).is_file()
