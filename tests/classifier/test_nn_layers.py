"""The layers of DM-FNet: shapes, round trips through their configuration, one known value each."""

import math
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from classifier.nn.context_attention import ContextAttention
from classifier.nn.dilated_convolution import DilatedConvolution
from classifier.nn.explained_classifier import ExplainedClassifier
from classifier.nn.gelu import ExactGelu
from classifier.nn.multi_scale_fusion import MultiScaleFusion
from classifier.nn.selective_kernel import SelectiveKernel

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # Keras and NumPy 2.4
)


def _images(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def _fill(layer: Any, value: float) -> None:
    for weight in layer.weights:
        weight.assign(np.full(weight.shape, value, "float32"))


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (ExactGelu(), [(2, 3)]),
        (DilatedConvolution(4, 5, 3), [(2, 8, 8, 6)]),
        (SelectiveKernel(16, 4, 4), [(2, 8, 8, 6)]),
        (MultiScaleFusion(8, 4), [(2, 8, 8, 5), (2, 4, 4, 7)]),
        (ContextAttention(2), [(2, 8, 8, 6)]),
        (ExplainedClassifier(5, 12, 0.1), [(2, 4, 4, 6)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else "",
)
def test_layer_survives_a_round_trip(layer: Any, shapes: list[tuple[int, ...]]) -> None:
    inputs = [_images(*shape) for shape in shapes]
    argument = inputs if len(inputs) > 1 else inputs[0]
    expected = layer(argument)
    copy = type(layer).from_config(layer.get_config())
    copy(argument)
    copy.set_weights(layer.get_weights())
    for one, other in zip(
        keras.tree.flatten(expected), keras.tree.flatten(copy(argument)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    shape = shapes if len(shapes) > 1 else shapes[0]
    computed = layer.compute_output_shape(shape)
    found = [tuple(value.shape) for value in keras.tree.flatten(expected)]
    if isinstance(computed, dict):
        assert {key: tuple(value.shape) for key, value in expected.items()} == computed
    else:
        assert found == (computed if isinstance(computed, list) else [tuple(computed)])


def test_gelu_known_values() -> None:
    values = np.array([-2.0, 0.0, 1.0, 3.0], "float32")
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in values]
    np.testing.assert_allclose(ExactGelu()(values), expected, atol=1e-6)


@pytest.mark.parametrize(("side", "rate"), [(3, 1), (5, 3), (3, 5), (5, 5)])
def test_dilated_convolution_is_the_same_in_training(side: int, rate: int) -> None:
    layer = DilatedConvolution(4, side, rate)
    images = _images(2, 8, 8, 6)
    np.testing.assert_allclose(layer(images), layer(images, training=True), atol=1e-5)


def test_dilated_convolution_counts_its_taps() -> None:
    layer = DilatedConvolution(1, 3, 3)
    layer.build((None, 8, 8, 1))
    _fill(layer, 1.0)
    counts = ops.convert_to_numpy(layer(np.ones((1, 8, 8, 1), "float32")))[0, :, :, 0]
    assert counts[0, 0] == 4
    assert counts[4, 4] == 9
    assert counts[0, 4] == 6


def test_outer_ring_of_a_wide_kernel_never_meets_a_small_map() -> None:
    wide, narrow = DilatedConvolution(2, 5, 5), DilatedConvolution(2, 3, 5)
    images = _images(1, 8, 8, 3)
    wide.build(images.shape)
    narrow.build(images.shape)
    narrow.kernel.assign(wide.kernel[1:4, 1:4])
    np.testing.assert_allclose(wide(images), narrow(images), atol=1e-5)


def test_selective_kernel_weighs_both_branches() -> None:
    layer = SelectiveKernel(8, 2, 2)
    images = _images(1, 8, 8, 4)
    layer.build(images.shape)
    # A squeeze of zeros gives sigmoid(0) for every channel: half of each branch.
    _fill(layer.excite, 0.0)
    both = ops.convert_to_numpy(layer(images))
    layer.excite.bias.assign(np.repeat([100.0, -100.0], 8).astype("float32"))
    local = ops.convert_to_numpy(layer(images))
    layer.excite.bias.assign(np.repeat([-100.0, 100.0], 8).astype("float32"))
    wide = ops.convert_to_numpy(layer(images))
    np.testing.assert_allclose(both, 0.5 * (local + wide), atol=1e-5)
    assert np.abs(local - wide).max() > 0.01


def test_fusion_equals_its_definition() -> None:
    layer = MultiScaleFusion(8, 4)
    maps = [_images(2, 8, 8, 5), _images(2, 4, 4, 7)]
    found = layer(maps)
    large = [maps[0], np.repeat(np.repeat(maps[1], 2, 1), 2, 2)]
    own = [ops.convert_to_numpy(convolution.kernel.value)[0, 0] for convolution in layer.own]
    shared = [ops.convert_to_numpy(convolution.kernel.value)[0, 0] for convolution in layer.shared]
    fusion_kernel = np.concatenate([kernel[:, :8] for kernel in own])
    fused = layer.fused_normalisation(np.concatenate(large, axis=-1) @ fusion_kernel)
    fused = ops.convert_to_numpy(layer.gelu(fused))
    for index, feature_map in enumerate(large):
        kernel = np.concatenate([own[index][:, 8:], shared[index]])
        expected = np.concatenate([feature_map, fused], axis=-1) @ kernel
        expected = layer.normalisations[index](expected)
        np.testing.assert_allclose(found[index], expected, atol=1e-4)


def test_context_attention_known_value() -> None:
    layer = ContextAttention(2)
    layer.build((None, 4, 4, 2))
    _fill(layer, 0.0)
    images = _images(1, 4, 4, 2)
    # With all weights zero, both residual paths add nothing.
    np.testing.assert_allclose(layer(images), images, atol=1e-6)
    layer.leave.bias.assign([1.0, 3.0])
    gelu = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in (1.0, 3.0)]
    np.testing.assert_allclose(layer(images), images + gelu, atol=1e-5)


def test_classifier_known_value() -> None:
    layer = ExplainedClassifier(2, 2)
    layer.build((None, 1, 2, 2))
    layer.embed.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    layer.score.kernel.assign([[2.0, 0.0], [0.0, 1.0]])
    # Means 3 and 1: the first class wins with 6 to 1, and only the first channel speaks for it.
    outputs = layer(np.array([[[[2.0, 2.0], [4.0, 0.0]]]], "float32"))
    np.testing.assert_allclose(outputs["embedding"], [[3.0, 1.0]])
    np.testing.assert_allclose(outputs["pooled"], [[3.0, 1.0]])
    np.testing.assert_allclose(outputs["logits"], [[6.0, 1.0]])
    np.testing.assert_allclose(outputs["explanation"], [[[0.5, 1.0]]], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: SelectiveKernel(10, groups=8), "10"),
        (lambda: SelectiveKernel(16, reduction=32), "32"),
        (lambda: MultiScaleFusion(100, groups=16), "100"),
        (lambda: ContextAttention(0), "0"),
        (lambda: ExplainedClassifier(1), "1"),
        (lambda: ExplainedClassifier(dropout=1.5), "1.5"),
        (lambda: DilatedConvolution(4, 4), "4"),
    ],
)
def test_bad_arguments_are_named(make: Any, received: str) -> None:
    with pytest.raises(ValueError, match=f"received {received}"):
        make()
