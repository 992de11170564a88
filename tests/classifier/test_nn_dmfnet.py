"""The whole network: size, outputs, weights, backbone and explanation."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from classifier.classes import CELL_CLASSES
from classifier.nn import EMBEDDING_SIZE, EXPLANATION_SIZE, POOLED_SIZE
from classifier.nn.complexity import count_multiply_adds
from classifier.nn.dmfnet import build_dmfnet, load_dmfnet
from classifier.nn.mobilenet import load_imagenet
from classifier.preprocessing import INPUT_SIZE

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # Keras and NumPy 2.4
)


@pytest.fixture(scope="module")
def network() -> Any:
    keras.utils.set_random_seed(3)
    return build_dmfnet()


@pytest.fixture(scope="module")
def images() -> Any:
    shape = (2, INPUT_SIZE, INPUT_SIZE, 3)
    return np.random.default_rng(1).integers(0, 256, shape).astype("float32")


def test_size_is_pinned(network: Any) -> None:
    assert network.count_params() == 2_674_057
    assert count_multiply_adds(network) == 283_813_888
    assert count_multiply_adds(network) <= 300_000_000


def test_outputs(network: Any, images: Any) -> None:
    outputs = network(images)
    assert tuple(outputs["logits"].shape) == (2, len(CELL_CLASSES))
    assert tuple(outputs["embedding"].shape) == (2, EMBEDDING_SIZE)
    assert tuple(outputs["pooled"].shape) == (2, POOLED_SIZE)
    explanation = keras.ops.convert_to_numpy(outputs["explanation"])
    assert explanation.shape == (2, EXPLANATION_SIZE, EXPLANATION_SIZE)
    assert explanation.min() >= 0.0
    assert explanation.max() <= 1.0


def test_batch_does_not_change_the_result(network: Any, images: Any) -> None:
    together = network(images)["logits"]
    alone = network(images[:1])["logits"]
    np.testing.assert_allclose(together[:1], alone, atol=1e-4)


def test_explanation_equals_gradient_based_grad_cam(network: Any, images: Any) -> None:
    features = keras.Model(network.input, network.get_layer("features").output)(images)
    with tf.GradientTape() as tape:
        tape.watch(features)
        outputs = network.get_layer("head")(features)
        score = tf.reduce_sum(tf.reduce_max(outputs["logits"], axis=1))
    gradient = tape.gradient(score, features).numpy()
    weights = gradient.mean(axis=(1, 2))
    expected = np.maximum(np.einsum("nhwc,nc->nhw", features.numpy(), weights), 0.0)
    expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-12)
    np.testing.assert_allclose(outputs["explanation"], expected, atol=1e-3)


def test_configuration_and_weights_round_trip(network: Any, images: Any, tmp_path: Path) -> None:
    path = tmp_path / "dmfnet.keras"
    network.save(path)
    copy = keras.models.load_model(path)
    np.testing.assert_allclose(copy(images)["logits"], network(images)["logits"], atol=1e-5)
    weights = tmp_path / "dmfnet.weights.h5"
    network.save_weights(weights)
    loaded = load_dmfnet(weights)
    np.testing.assert_allclose(loaded(images)["logits"], network(images)["logits"], atol=1e-5)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        load_dmfnet(tmp_path / "none.h5")


def test_input_size_is_checked() -> None:
    with pytest.raises(ValueError, match="received 100"):
        build_dmfnet(input_size=100)


def test_backbone_folds_batch_normalisation(images: Any, tmp_path: Path) -> None:
    reference = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(INPUT_SIZE, INPUT_SIZE, 3)
    )
    random = np.random.default_rng(2)
    for layer in reference.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            low = np.array([0.5, -0.5, -0.5, 0.5])[:, None]
            layer.set_weights(low + random.uniform(0, 1, (4, layer.gamma.shape[0])))
    path = tmp_path / "imagenet.weights.h5"
    reference.save_weights(path)
    network = build_dmfnet()
    assert load_imagenet(network, path) == 40
    for name in ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu"):
        found = keras.Model(network.input, network.get_layer(name).output)(images)
        wanted = keras.Model(reference.input, reference.get_layer(name).output)(images / 127.5 - 1)
        np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_backbone_needs_its_file(network: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        load_imagenet(network, tmp_path / "none.h5")


def test_names_are_there_without_keras() -> None:
    import subprocess
    import sys

    code = (
        "import sys, classifier.nn, classifier.classes, classifier.preprocessing\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
