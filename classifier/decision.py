"""From the network's outputs to a decision about each cell, in NumPy alone.

Every engine hands its raw outputs to `decide`, so that the calibration, the out-of-distribution
score and the abstention are the same arithmetic whichever runtime computed the network.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from classifier.artifact import ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.classes import UNIDENTIFIED as UNIDENTIFIED_CLASS
from classifier.distances import strangeness

UNIDENTIFIED = UNIDENTIFIED_CLASS.name
LOW_CONFIDENCE = "low_confidence"
OUT_OF_DISTRIBUTION = "out_of_distribution"

FloatArray = npt.NDArray[np.floating]


class RawOutputs(NamedTuple):
    """What one forward pass gives for n images.

    Attributes:
        logits: (n, 5).
        embedding: (n, 256), the last hidden layer.
        explanation: (n, 16, 16), 0..1, where the evidence for the predicted class lies.
        pooled: (n, 512), the average of the feature map; None from models up to 2.0.0.
    """

    logits: FloatArray
    embedding: FloatArray
    explanation: FloatArray
    pooled: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CellPrediction:
    """What the model says about one cell.

    Attributes:
        probabilities: calibrated, in the order of `CELL_CLASSES`; they sum to one.
        predicted_index: position of the most probable class in `CELL_CLASSES`.
        predicted_class: its name, also when the model abstains.
        confidence: its probability.
        decision: `predicted_class`, or "Unidentified" when the model abstains.
        reasons: why it abstains: "low_confidence", "out_of_distribution", both or none.
        ood_score: Mahalanobis distance of the pooled feature map (up to 2.0.0 of the embedding)
            to the nearest class mean, from 2.2.0 on plus the likeness to known foreign cells, over
            the scale of the model version.
        embedding: float32 (256,).
        explanation: uint8 (16, 16), 0..255.
    """

    probabilities: tuple[float, ...]
    predicted_index: int
    predicted_class: str
    confidence: float
    decision: str
    reasons: tuple[str, ...]
    ood_score: float
    embedding: npt.NDArray[np.float32]
    explanation: npt.NDArray[np.uint8]


def calibrated_probabilities(logits: FloatArray, temperature: float) -> npt.NDArray[np.float64]:
    """Softmax of the logits (n, classes) over a temperature. Guo et al., ICML 2017."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def decide(raw: RawOutputs, artifact: ModelArtifact) -> list[CellPrediction]:
    """Calibrate, score and decide for n images.

    Raises:
        ValueError: an output holds NaN or infinity, so that no number of it can be trusted.
    """
    if len(raw.logits) == 0:
        return []
    features = _features(raw, artifact)
    if not all(np.isfinite(values).all() for values in (raw.logits, raw.embedding, features)):
        raise ValueError("The engine returned values that are not finite")
    probabilities = calibrated_probabilities(raw.logits, artifact.temperature)
    scores = strangeness(features, artifact.distances, artifact.foreign) / artifact.ood_scale
    embeddings = np.array(raw.embedding, dtype=np.float32)
    maps = np.rint(np.clip(np.nan_to_num(raw.explanation), 0.0, 1.0) * 255.0).astype(np.uint8)
    return [
        _prediction(*row, artifact)
        for row in zip(probabilities, scores, embeddings, maps, strict=True)
    ]


def _features(raw: RawOutputs, artifact: ModelArtifact) -> FloatArray:
    """The output that the statistics of the model were made from, told by their length."""
    size = artifact.class_means.shape[1]
    for values in (raw.pooled, raw.embedding):
        if values is not None and values.shape[1] == size:
            return values
    raise ValueError(f"The engine returned nothing of {size} values to measure distances with")


def _prediction(
    probabilities: npt.NDArray[np.float64],
    ood_score: np.float64,
    embedding: npt.NDArray[np.float32],
    explanation: npt.NDArray[np.uint8],
    artifact: ModelArtifact,
) -> CellPrediction:
    index = int(probabilities.argmax())
    confidence = float(probabilities[index])
    reasons = []
    if confidence < artifact.confidence_threshold:
        reasons.append(LOW_CONFIDENCE)
    if ood_score > artifact.ood_threshold:
        reasons.append(OUT_OF_DISTRIBUTION)
    name = CELL_CLASSES[index]
    return CellPrediction(
        probabilities=tuple(map(float, probabilities)),
        predicted_index=index,
        predicted_class=name,
        confidence=confidence,
        decision=UNIDENTIFIED if reasons else name,
        reasons=tuple(reasons),
        ood_score=float(ood_score),
        # Copies: a slice would keep the arrays of the whole batch alive with every prediction.
        embedding=embedding.copy(),
        explanation=explanation.copy(),
    )
