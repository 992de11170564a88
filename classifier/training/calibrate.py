"""What turns the network's outputs into a decision: temperature, distance and thresholds.

Everything here is fitted on training and validation data and stored beside the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.distances import ClassDistances, ForeignLikeness, strangeness
from classifier.evaluation.metrics import Floats, Ints, softmax

TEMPERATURE_RANGE = (0.05, 20.0)
# Shares of the validation cells given up for each reason.
OUT_OF_DISTRIBUTION_SHARE = 0.02
LOW_CONFIDENCE_SHARE = 0.03
# How far the covariance is drawn towards a sphere. Between 0.02 and 0.2 it hardly matters for the
# separation of pbc_other from pbc/val, on which it was chosen.
SHRINKAGE = 0.1
# Spread of the likeness to foreign cells over the validation cells, in spreads of the distance.
FOREIGN_WEIGHT = 2.0
_FOREIGN_SHRINKAGE = 0.003
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_SEARCH_STEPS = 60


@dataclass(frozen=True)
class Decision:
    """The fitted numbers, as ``decision.npz`` and ``metadata.json`` hold them.

    Attributes:
        temperature: Divisor of the logits before the softmax.
        class_means: Mean pooled feature map of each class (classes, 512).
        precision: Inverse of the common covariance within the classes (512, 512).
        scale: Mahalanobis distance that counts as 1 in the out-of-distribution score.
        ood_threshold: Score above which a cell counts as out of distribution; 1, by the scale.
        confidence_threshold: Calibrated probability below which the model abstains.
        foreign: Likeness to known foreign cells, where there were any to fit it on.
    """

    temperature: float
    class_means: NDArray[np.float32]
    precision: NDArray[np.float32]
    scale: float
    ood_threshold: float
    confidence_threshold: float
    foreign: ForeignLikeness | None = None

    def ood_scores(self, features: Floats) -> NDArray[np.float64]:
        """Scores (n,) of pooled feature maps (n, 512)."""
        distances = ClassDistances(self.class_means, self.precision)
        return np.asarray(strangeness(features, distances, self.foreign) / self.scale)


def negative_log_likelihood(logits: Floats, labels: Ints, temperature: float) -> float:
    """Mean negative log-likelihood at a temperature."""
    probabilities = softmax(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(probabilities, 1e-300)).mean())


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """Temperature with the smallest negative log-likelihood, by golden-section search.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    low, high = (math.log(limit) for limit in TEMPERATURE_RANGE)
    for _ in range(_SEARCH_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        left_loss = negative_log_likelihood(logits, labels, math.exp(left))
        if left_loss < negative_log_likelihood(logits, labels, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def fit_gaussians(
    features: Floats, labels: Ints, classes: int, shrinkage: float = SHRINKAGE
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Class means and the inverse of the common, shrunk covariance within the classes.

    Source: Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples,
    arXiv:1807.03888.
    """
    values = features.astype(np.float64)
    means = np.stack([values[labels == label].mean(axis=0) for label in range(classes)])
    centred = values - means[labels]
    covariance = centred.T @ centred / len(values)
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    precision = np.linalg.inv((1.0 - shrinkage) * covariance + shrinkage * sphere)
    return means.astype(np.float32), precision.astype(np.float32)


def fit_foreign(
    own: Floats, foreign: Floats, validation: Floats, distances: ClassDistances
) -> ForeignLikeness:
    """Fit the direction that tells known foreign cells from those of the classes.

    A linear discriminant with both sides weighing the same and a shrunk covariance. What is foreign
    and like none of these kinds is left to the distance. Source of the idea to learn from known
    foreign examples: Hendrycks et al. 2019, Deep Anomaly Detection with Outlier Exposure,
    arXiv:1812.04606.

    Args:
        own: Pooled feature maps (n, d) of training images.
        foreign: Those of foreign cells (m, d).
        validation: Those of validation images of the classes, which set offset and scale.
        distances: To which the likeness is added.
    """
    values = np.concatenate([own, foreign]).astype(np.float64)
    target = np.repeat([-1.0, 1.0], [len(own), len(foreign)])
    weights = np.repeat([0.5 / len(own), 0.5 / len(foreign)], [len(own), len(foreign)])
    spread = values.std(axis=0) + 1e-9
    centred = (values - weights @ values) / spread
    weighted = centred * weights[:, None]
    covariance = weighted.T @ centred
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    direction = np.linalg.solve(covariance + _FOREIGN_SHRINKAGE * sphere, weighted.T @ target)
    direction /= spread
    likeness = validation.astype(np.float64) @ direction
    unit = FOREIGN_WEIGHT * distances.nearest(validation).std() / likeness.std()
    stored = (unit * direction).astype(np.float32)
    offset = -float((validation @ stored.astype(np.float64)).mean())
    return ForeignLikeness(stored.astype(np.float64), offset)


def fit_decision(
    training: dict[str, Any],
    validation: dict[str, Any],
    classes: int,
    foreign: Floats | None = None,
) -> Decision:
    """Fit everything.

    Args:
        training: ``pooled`` (n, 512) and ``labels`` (n,) of the training images.
        validation: ``logits``, ``pooled`` and ``labels`` of the validation images.
        classes: Number of classes.
        foreign: Pooled feature maps (m, 512) of cells of none of the classes, if there are any.
    """
    temperature = fit_temperature(validation["logits"], validation["labels"])
    means, precision = fit_gaussians(training["pooled"], training["labels"], classes)
    distances = ClassDistances(means, precision)
    known = None
    if foreign is not None:
        known = fit_foreign(training["pooled"], foreign, validation["pooled"], distances)
    strange = strangeness(validation["pooled"], distances, known)
    scale = float(np.quantile(strange, 1.0 - OUT_OF_DISTRIBUTION_SHARE))
    confidence = softmax(validation["logits"], temperature).max(axis=1)
    return Decision(
        temperature=temperature,
        class_means=means,
        precision=precision,
        scale=scale,
        ood_threshold=1.0,
        confidence_threshold=float(np.quantile(confidence, LOW_CONFIDENCE_SHARE)),
        foreign=known,
    )
