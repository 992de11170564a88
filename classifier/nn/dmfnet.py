"""DM-FNet: a small network that classifies white blood cells and explains what it looked at."""

from __future__ import annotations

from pathlib import Path

from keras import Input, Model, layers

from classifier.nn import EMBEDDING_SIZE, MODEL_NAME
from classifier.nn.context_attention import ContextAttention
from classifier.nn.explained_classifier import ExplainedClassifier
from classifier.nn.mobilenet import mobilenet_features
from classifier.nn.multi_scale_fusion import MultiScaleFusion
from classifier.nn.selective_kernel import SelectiveKernel

_SIZE_STEP = 16


def build_dmfnet(
    input_size: int = 128,
    classes: int = 5,
    filters: int = 128,
    kernel_filters: int = 64,
    dropout: float = 0.0,
) -> Model:
    """Build DM-FNet with random weights.

    Args:
        input_size: Side of the square input in pixels, a multiple of 16.
        classes: Number of classes.
        filters: Channels of the fused maps and of the context attention.
        kernel_filters: Channels of the selective-kernel block.
        dropout: Dropout rate before the embedding, in training only.

    Returns:
        A functional model. Input ``image`` (n, size, size, 3), RGB in 0..255. Output a dictionary:
        ``logits`` (n, classes), ``embedding`` (n, 256), ``explanation`` (n, size/8, size/8) in
        0..1. The softmax stays outside, because it is taken after dividing by the temperature.

    Raises:
        ValueError: If ``input_size`` is not a positive multiple of 16.
    """
    if input_size <= 0 or input_size % _SIZE_STEP:
        raise ValueError(f"input_size must be a multiple of {_SIZE_STEP}, received {input_size}")
    image = Input((input_size, input_size, 3), name="image")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
    shallow, middle, deep = mobilenet_features(scaled)
    shallow = layers.MaxPooling2D(2, name="shallow_pool")(shallow)
    selected = SelectiveKernel(kernel_filters, name="selective_kernel")(deep)
    fused = MultiScaleFusion(filters, name="fusion")([shallow, middle, deep, selected])
    attended = [
        ContextAttention(name=f"context_attention_{index}")(feature_map)
        for index, feature_map in enumerate(fused)
    ]
    features = layers.Concatenate(name="features")(attended)
    head = ExplainedClassifier(classes, EMBEDDING_SIZE, dropout, name="head")
    return Model(image, head(features), name=MODEL_NAME)


def load_dmfnet(path: Path) -> Model:
    """Build DM-FNet and load trained weights (``dmfnet.weights.h5``) into it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds the weights of another architecture.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights not found: {path}")
    model = build_dmfnet()
    model.load_weights(path)
    return model
