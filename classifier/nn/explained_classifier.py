"""The head of the network: class scores, embedding and the map that explains the score."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

TINY = 1e-6


@keras.saving.register_keras_serializable(package="wbclab")
class ExplainedClassifier(layers.Layer):
    """Classify pooled features and compute Grad-CAM of the predicted class without a gradient.

    Behind the global average stand a dense layer with ReLU (the embedding) and a dense layer (the
    logits). The gradient of logit c by channel k of the feature map is therefore the same at every
    position, ``sum_m W1[k, m] * [h_m > 0] * W2[m, c] / (height * width)``: a product of two small
    matrices. Weighted with it, summed over the channels and cut at zero, the feature map is exactly
    Grad-CAM; it is divided by its maximum, so the common factor does not matter.

    Args:
        classes: Number of classes.
        embedding: Size of the embedding.
        dropout: Rate of dropout on the pooled features, in training only.

    Shapes: input (n, h, w, c); output a dictionary with ``logits`` (n, classes), ``embedding``
    (n, embedding), ``explanation`` (n, h, w) in 0..1 and ``pooled`` (n, c), the average of the
    input, from which foreign cells are told apart.

    Source: Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391.
    """

    def __init__(
        self, classes: int = 5, embedding: int = 256, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if classes < 2:
            raise ValueError(f"classes must be at least 2, received {classes}")
        if embedding < 1:
            raise ValueError(f"embedding must be positive, received {embedding}")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must be in 0..1, received {dropout}")
        self.classes = classes
        self.embedding = embedding
        self.dropout = dropout
        self.drop = layers.Dropout(dropout, name="drop")
        self.embed = layers.Dense(embedding, activation="relu", name="embed")
        self.score = layers.Dense(classes, name="score")

    def build(self, input_shape: Any) -> None:
        self.embed.build((input_shape[0], input_shape[-1]))
        self.score.build((input_shape[0], self.embedding))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        pooled = ops.mean(inputs, axis=(1, 2))
        embedding = self.embed(self.drop(pooled, training=training))
        logits = self.score(embedding)
        explanation = self._explain(inputs, embedding, logits)
        return {
            "logits": logits,
            "embedding": embedding,
            "explanation": explanation,
            "pooled": pooled,
        }

    def _explain(self, feature_map: Any, embedding: Any, logits: Any) -> Any:
        # A comparison instead of argmax and a look-up: both have no portable ONNX form here.
        predicted = ops.cast(logits >= ops.max(logits, axis=-1, keepdims=True), logits.dtype)
        towards_class = ops.matmul(predicted, ops.transpose(self.score.kernel))
        active = ops.cast(embedding > 0, embedding.dtype)
        weights = ops.matmul(towards_class * active, ops.transpose(self.embed.kernel))
        channels = feature_map.shape[-1]
        positions = feature_map.shape[1] * feature_map.shape[2]
        flat = ops.reshape(feature_map, (-1, positions, channels))
        relevance = ops.relu(ops.matmul(flat, weights[:, :, None])[:, :, 0])
        relevance = relevance / (ops.max(relevance, axis=1, keepdims=True) + TINY)
        return ops.reshape(relevance, (-1, feature_map.shape[1], feature_map.shape[2]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return {
            "logits": (input_shape[0], self.classes),
            "embedding": (input_shape[0], self.embedding),
            "explanation": tuple(input_shape[:-1]),
            "pooled": (input_shape[0], input_shape[-1]),
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "classes": self.classes,
            "embedding": self.embedding,
            "dropout": self.dropout,
        }
