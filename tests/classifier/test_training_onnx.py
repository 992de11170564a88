"""The network written as ONNX: the numbers of each Keras layer, with less work."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from classifier.nn.complexity import count_graph_multiply_adds, count_multiply_adds
from classifier.nn.context_attention import ContextAttention
from classifier.nn.dmfnet import build_dmfnet
from classifier.nn.explained_classifier import ExplainedClassifier
from classifier.nn.gelu import ExactGelu
from classifier.nn.multi_scale_fusion import MultiScaleFusion
from classifier.nn.selective_kernel import SelectiveKernel
from classifier.training.export import ExportError, compare_with_keras, export_onnx
from classifier.training.onnx_layers import write_network

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # Keras and NumPy 2.4
)
PARITY = 1e-4


def _stirred(model: Any) -> Any:
    """Weights without a zero or a one that would hide a mistake (biases, scales and shifts)."""
    random = np.random.default_rng(11)
    model.set_weights([w + random.normal(0.0, 0.05, w.shape) for w in model.get_weights()])
    return model


def _mixed(x: Any) -> Any:
    first = ContextAttention(name="first")(x)
    second = ContextAttention(4, name="second")(ExactGelu()(x))
    return layers.Concatenate()([first, second])


def _fused(x: Any) -> Any:
    small = layers.Conv2D(24, 1)(layers.MaxPooling2D(2)(x))
    smaller = layers.Conv2D(8, 3, strides=2, padding="same")(small)
    return layers.Concatenate()(MultiScaleFusion(16)([x, small, smaller, small]))


def _inverted(x: Any) -> Any:
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(layers.ReLU(6.0)(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="valid")(x)
    return layers.Add()([x, layers.DepthwiseConv2D(5, padding="same")(x)])


BLOCKS: dict[str, Callable[[Any], Any]] = {
    "context attention": _mixed,
    "fusion": _fused,
    "selective kernel": lambda x: SelectiveKernel(32)(layers.MaxPooling2D(2)(x)),
    "inverted residual": _inverted,
    "far-reaching kernel": lambda x: layers.DepthwiseConv2D(7, padding="same", dilation_rate=3)(x),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_gives_the_numbers_of_its_layer(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(4)
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(x)
    model = _stirred(keras.Model(image, ExplainedClassifier()(BLOCKS[name](x))))
    onnx.save(write_network(model), tmp_path / "block.onnx")
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    assert compare_with_keras(model, tmp_path / "block.onnx", images) <= PARITY


@pytest.fixture(scope="module")
def network() -> Any:
    keras.utils.set_random_seed(6)
    return _stirred(build_dmfnet())


def test_the_whole_network(network: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, 128, 128, 3)).astype(np.uint8)
    assert export_onnx(network, tmp_path / "dmfnet.onnx", images) <= PARITY
    assert {output.name for output in onnx.load(tmp_path / "dmfnet.onnx").graph.output} == {
        "logits",
        "embedding",
        "explanation",
        "pooled",
    }


def test_what_is_saved(network: Any) -> None:
    graph = write_network(network)
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["Transpose"] == 1
    assert not {"Slice", "Pad", "Tile", "Erf", "ReduceMean", "BatchNormalization"} & set(operators)
    assert count_multiply_adds(network) == 283_813_888
    # Of these 8 million lie behind the average now; most of the rest met padding.
    assert sum(count_graph_multiply_adds(graph).values()) == 226_242_256


def test_a_layer_without_a_rule_is_named(tmp_path: Path) -> None:
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Softmax(name="odd")(image)
    model = keras.Model(image, ExplainedClassifier()(x))
    with pytest.raises(ExportError, match="'odd' is a Softmax"):
        export_onnx(model, tmp_path / "x.onnx", np.zeros((1, 32, 32, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
