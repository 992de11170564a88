"""Decisions against numbers worked out by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.artifact import ModelArtifact
from classifier.decision import (
    CellPrediction,
    RawOutputs,
    calibrated_probabilities,
    decide,
)
from classifier.distances import ClassDistances, ForeignLikeness


def artifact(**changes: Any) -> ModelArtifact:
    """Class means one unit along the first five axes; a precision of 4, so distances double."""
    values: dict[str, Any] = {
        "folder": Path("nowhere"),
        "name": "DM-FNet",
        "version": "1",
        "files": {},
        "input_dtype": "float32",
        "temperature": 2.0,
        "confidence_threshold": 0.4,
        "ood_threshold": 3.0,
        "ood_scale": 2.0,
        "class_means": np.eye(5, 256),
        "precision": 4.0 * np.eye(256),
        "metadata": {},
    }
    return ModelArtifact(**(values | changes))


def outputs(
    logits: list[list[float]], embedding: Any = None, explanation: Any = None
) -> RawOutputs:
    count = len(logits)
    if embedding is None:
        embedding = np.eye(1, 256).repeat(count, axis=0)
    if explanation is None:
        explanation = np.zeros((count, 16, 16))
    return RawOutputs(
        np.array(logits, np.float32),
        np.asarray(embedding, np.float32),
        np.asarray(explanation, np.float32),
    )


def decided(raw: RawOutputs, **changes: Any) -> CellPrediction:
    (prediction,) = decide(raw, artifact(**changes))
    return prediction


def test_the_temperature_divides_the_logits() -> None:
    # exp(2 / 2) = e against four times exp(0) = 1.
    probabilities = calibrated_probabilities(np.array([[2.0, 0, 0, 0, 0]]), temperature=2.0)
    np.testing.assert_allclose(probabilities, [[math.e / (math.e + 4), *[1 / (math.e + 4)] * 4]])


def test_huge_logits_do_not_overflow() -> None:
    probabilities = calibrated_probabilities(np.array([[1e4, -1e4, 0, 0, 0]]), temperature=1.0)
    np.testing.assert_array_equal(probabilities, [[1, 0, 0, 0, 0]])


def test_the_distance_is_that_to_the_nearest_mean() -> None:
    # From the origin every mean is one unit away; with a precision of 4 that is sqrt(4) = 2.
    embedding = np.stack([np.zeros(256), 4.0 * np.eye(256)[1], np.eye(256)[2]])
    distances = ClassDistances(np.eye(5, 256), 4.0 * np.eye(256)).nearest(embedding)
    np.testing.assert_allclose(distances, [2.0, 6.0, 0.0], atol=1e-6)


def test_the_distance_uses_the_whole_precision_matrix() -> None:
    precision = np.eye(256)
    precision[0, 1] = precision[1, 0] = 0.5
    # (1, 1) P (1, 1)' = 1 + 1 + 2 * 0.5 = 3.
    embedding = np.eye(1, 256) + np.eye(1, 256, 1)
    np.testing.assert_allclose(
        ClassDistances(np.zeros((5, 256)), precision).nearest(embedding), [math.sqrt(3)]
    )


def test_the_length_of_the_statistics_chooses_the_output() -> None:
    raw = outputs([[0, 0, 0, 0, 6.0]])._replace(pooled=3.0 * np.eye(1, 512, dtype=np.float32))
    assert decided(raw).ood_score == pytest.approx(0.0)
    statistics = {"class_means": np.zeros((5, 512)), "precision": 4.0 * np.eye(512)}
    assert decided(raw, **statistics).ood_score == pytest.approx(3.0)
    with pytest.raises(ValueError, match="512 values"):
        decided(raw._replace(pooled=None), **statistics)


def test_likeness_to_foreign_cells_is_added_to_the_distance() -> None:
    # At the first mean the distance is 0; along it 5 * 1 - 2 = 3 more, over a scale of 2.
    towards = ForeignLikeness(5.0 * np.eye(1, 256)[0], -2.0)
    assert decided(outputs([[0, 0, 0, 0, 6.0]]), foreign=towards).ood_score == pytest.approx(1.5)
    # What is unlike them is not nearer for it: 2 * 3 along the second axis, over 2.
    away = ForeignLikeness(np.zeros(256), -5.0)
    raw = outputs([[0, 0, 0, 0, 6.0]], embedding=4.0 * np.eye(256)[1:2])
    assert decided(raw, foreign=away).ood_score == pytest.approx(3.0)


def test_a_clear_cell() -> None:
    prediction = decided(outputs([[0, 0, 0, 0, 6.0]]))
    expected = math.exp(3) / (math.exp(3) + 4)
    assert prediction.predicted_index == 4
    assert prediction.predicted_class == prediction.decision == "Neutrophil"
    assert prediction.confidence == pytest.approx(expected)
    assert prediction.probabilities[4] == prediction.confidence
    assert sum(prediction.probabilities) == pytest.approx(1.0)
    assert prediction.reasons == ()
    assert prediction.ood_score == 0.0


def test_a_doubtful_cell_is_unidentified() -> None:
    prediction = decided(outputs([[0.2, 0, 0, 0, 0]]))
    assert prediction.predicted_class == "Basophil"
    assert prediction.decision == "Unidentified"
    assert prediction.reasons == ("low_confidence",)


def test_a_strange_cell_is_unidentified() -> None:
    # Four units behind the first mean: distance 8, over the scale 4, above the threshold 3.
    prediction = decided(outputs([[9.0, 0, 0, 0, 0]], 5.0 * np.eye(1, 256)))
    assert prediction.ood_score == pytest.approx(4.0)
    assert prediction.decision == "Unidentified"
    assert prediction.reasons == ("out_of_distribution",)


def test_both_reasons_are_kept() -> None:
    prediction = decided(outputs([[0.2, 0, 0, 0, 0]], 5.0 * np.eye(1, 256)))
    assert prediction.reasons == ("low_confidence", "out_of_distribution")


def test_the_thresholds_themselves_pass() -> None:
    certain = decided(outputs([[0.0] * 5], 4.0 * np.eye(1, 256)), confidence_threshold=0.2)
    assert (certain.confidence, certain.ood_score) == (pytest.approx(0.2), pytest.approx(3.0))
    assert certain.reasons == ()


def test_embedding_and_explanation_are_kept_small() -> None:
    explanation = np.zeros((2, 16, 16))
    explanation[1, 3, 4], explanation[1, 0, 0], explanation[1, 0, 1] = 1.0, 0.5, 1.2
    first, second = decide(outputs([[0.0] * 5] * 2, explanation=explanation), artifact())
    assert (second.explanation.dtype, second.explanation.shape) == (np.uint8, (16, 16))
    assert second.explanation[3, 4] == 255
    assert second.explanation[0, 0] == 128
    assert second.explanation[0, 1] == 255
    assert first.explanation.max() == 0
    assert (first.embedding.dtype, first.embedding.shape) == (np.float32, (256,))
    # A slice would keep the whole batch in memory with every prediction.
    assert first.embedding.base is None
    assert first.explanation.base is None


def test_no_images() -> None:
    assert decide(outputs([], np.zeros((0, 256)), np.zeros((0, 16, 16))), artifact()) == []


def test_values_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        decide(outputs([[math.nan, 0, 0, 0, 0]]), artifact())
    with pytest.raises(ValueError, match="not finite"):
        decide(outputs([[0.0] * 5], np.full((1, 256), np.inf)), artifact())
