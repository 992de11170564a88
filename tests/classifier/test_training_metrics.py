"""Figures against values worked out by hand or taken from tables."""

import math
from typing import Any

import numpy as np
import pytest

from classifier.distances import ClassDistances
from classifier.evaluation.filters import NOTHING
from classifier.evaluation.filters import proportion as format_proportion
from classifier.evaluation.metrics import (
    area_under_roc,
    class_scores,
    cohen_kappa,
    confusion_matrix,
    describe,
    expected_calibration_error,
    proportion,
    softmax,
)
from classifier.intervals import clopper_pearson
from classifier.training.calibrate import (
    fit_decision,
    fit_gaussians,
    fit_temperature,
    negative_log_likelihood,
)


def test_clopper_pearson_known_values() -> None:
    low, high = clopper_pearson(0, 10)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    low, high = clopper_pearson(10, 10)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    # Published example: 5 of 10.
    assert clopper_pearson(5, 10) == (
        pytest.approx(0.18709, abs=1e-5),
        pytest.approx(0.81291, abs=1e-5),
    )
    low, high = clopper_pearson(1021, 1028)
    assert 0.98 < low < 1021 / 1028 < high < 1.0
    with pytest.raises(ValueError, match="received 11"):
        clopper_pearson(11, 10)


def test_confusion_kappa_and_scores() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 0])
    matrix = confusion_matrix(labels, predicted, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    # Observed 4/6; expected (3*3 + 2*3 + 1*0) / 36.
    assert cohen_kappa(matrix) == pytest.approx((4 / 6 - 15 / 36) / (1 - 15 / 36))
    scores = class_scores(matrix, ("a", "b", "c"))
    assert scores["a"]["precision"] == pytest.approx(2 / 3)
    assert scores["a"]["recall"]["value"] == pytest.approx(2 / 3)
    assert scores["b"]["f1"] == pytest.approx(0.8)
    assert scores["c"]["precision"] is None


def test_absent_classes_do_not_enter_the_means() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    figures = describe(np.array([0, 1, 1]), probabilities, ("a", "b", "c"))
    assert figures["balanced_accuracy"] == pytest.approx(0.75)
    assert figures["accuracy"]["value"] == pytest.approx(2 / 3)
    assert figures["accuracy"]["n"] == 3
    assert figures["roc_auc"]["c"] is None
    assert figures["balanced_accuracy_classes_over_two"] is None


def test_area_under_roc_with_a_tie() -> None:
    positive = np.array([True, True, False, False])
    # Pairs: 3 > 2, 3 > 1, 2 = 2 (half), 2 > 1.
    assert area_under_roc(positive, np.array([3.0, 2.0, 2.0, 1.0])) == pytest.approx(3.5 / 4)
    assert area_under_roc(np.array([True]), np.array([1.0])) is None


def test_expected_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.35, 0.35])
    right = np.array([True, False, True, False])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.15)


def test_proportions_as_text() -> None:
    assert format_proportion(proportion(0, 0)) == NOTHING
    text = format_proportion(proportion(5, 10))
    assert text == "50.00% (18.71 to 81.29, n = 10)"


def test_temperature_is_recovered() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4000, 5))
    probabilities = softmax(logits)
    labels = np.array([random.choice(5, p=row) for row in probabilities])
    fitted = fit_temperature(3.0 * logits, labels)
    assert fitted == pytest.approx(3.0, rel=0.06)
    best = negative_log_likelihood(3.0 * logits, labels, fitted)
    assert best <= negative_log_likelihood(3.0 * logits, labels, 3.0)


def test_distance_is_mahalanobis() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 2000)
    values = random.normal(0, 1, (4000, 2)) * [1.0, 3.0] + labels[:, None] * 20.0
    means, precision = fit_gaussians(values, labels, 2, shrinkage=0.0)
    point = means[1:] + np.array([[0.0, 3.0]])
    distances = ClassDistances(means, precision)
    assert distances.nearest(point)[0] == pytest.approx(1.0, rel=0.05)
    np.testing.assert_allclose(distances.nearest(means), 0.0, atol=1e-5)


def test_thresholds_give_up_the_intended_share() -> None:
    random = np.random.default_rng(2)
    labels = np.arange(1000) % 5
    logits = 3.0 * np.eye(5)[labels] + random.normal(0, 1, (1000, 5))
    known = {"pooled": random.normal(0, 1, (1000, 8)) + labels[:, None], "labels": labels}
    decision = fit_decision(known, {**known, "logits": logits}, 5)
    foreign = decision.ood_scores(known["pooled"].astype(np.float64)) > decision.ood_threshold
    confidence = softmax(logits, decision.temperature).max(axis=1)
    assert foreign.mean() == pytest.approx(0.02, abs=0.002)
    assert (confidence < decision.confidence_threshold).mean() == pytest.approx(0.03, abs=0.002)
    assert math.isfinite(decision.scale)


def test_what_resembles_known_foreign_cells_scores_higher() -> None:
    """Foreign cells between the classes, where the distance alone cannot tell them."""
    random = np.random.default_rng(3)
    labels = np.arange(1000) % 5
    logits = 3.0 * np.eye(5)[labels] + random.normal(0, 1, (1000, 5))

    def own() -> Any:
        return random.normal(0, 1, (1000, 8)) + 2.0 * labels[:, None] * np.eye(8)[0]

    def foreign() -> Any:
        return random.normal(0, 1, (300, 8)) + 4.0 * np.eye(8)[0] + 2.5 * np.eye(8)[1]

    known = {"pooled": own(), "labels": labels}
    validation = {"pooled": own(), "labels": labels, "logits": logits}
    fitted = fit_decision(known, validation, 5, foreign())
    others, plain = foreign(), fit_decision(known, validation, 5)
    caught = (fitted.ood_scores(others) > 1.0).mean()
    assert caught > 2 * (plain.ood_scores(others) > 1.0).mean()
    assert (fitted.ood_scores(validation["pooled"]) > 1.0).mean() == pytest.approx(0.02, abs=0.002)
    # What is like nothing known stays foreign by its distance, whichever way it lies.
    far = fitted.class_means[:1] - 30.0 * np.eye(8)[2:3]
    assert fitted.ood_scores(far)[0] > 1.0
