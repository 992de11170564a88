"""The parts of an evaluation: finding the cell, looking at pictures, comparing, small sets."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from classifier.classes import CELL_CLASSES
from classifier.decision import CellPrediction
from classifier.evaluation.appearance import Appearance, describe_appearance, measure
from classifier.evaluation.cell_region import SIDE, CellRegion, find_cell, grown, optical_density
from classifier.evaluation.explanation import describe_explanations, mass_on_cell
from classifier.evaluation.goals import check_goals
from classifier.evaluation.labelled import LabelledFile
from classifier.evaluation.likeness import compare
from classifier.evaluation.run import Evaluated, Judged
from classifier.evaluation.standard import describe_reference
from classifier.evaluation.summary import summarise, uncalibrated
from classifier.synthetic import draw_cell, draw_field
from classifier.synthetic.no_cells import draw_without_cell


@cache
def _drawn(kind: str, seed: int) -> Image.Image:
    return draw_cell(kind, seed)


def found_in(image: Image.Image) -> CellRegion:
    region = find_cell(optical_density(image))
    assert region is not None
    return region


@pytest.mark.parametrize("kind", CELL_CLASSES)
def test_drawn_cells_are_found_where_they_were_drawn(kind: str) -> None:
    overlaps = []
    for seed in range(4):
        image, ((_, left, top, right, bottom),) = draw_field(seed, 400, 400, [kind])
        # Move the window so that the cell is about in the middle, as in a crop.
        x, y = (left + right) // 2, (top + bottom) // 2
        shift_x, shift_y = min(max(x - 120, 0), 160), min(max(y - 120, 0), 160)
        crop = image.crop((shift_x, shift_y, shift_x + 240, shift_y + 240))
        if abs(x - shift_x - 120) > 60 or abs(y - shift_y - 120) > 60:
            continue
        drawn = np.zeros((SIDE, SIDE), bool)
        scale = SIDE / 240
        rows = slice(int((top - shift_y) * scale), int((bottom - shift_y) * scale))
        drawn[rows, int((left - shift_x) * scale) : int((right - shift_x) * scale)] = True
        cell = found_in(crop).cell
        overlaps.append((cell & drawn).sum() / (cell | drawn).sum())
    # A box is never a cell: a circle fills 79% of its own.
    assert np.mean(overlaps) > 0.6


def test_an_empty_picture_has_no_cell() -> None:
    assert find_cell(optical_density(Image.new("RGB", (200, 200), (230, 225, 220)))) is None


def test_growing_reaches_as_far_as_asked() -> None:
    mask = np.zeros((41, 41), bool)
    mask[20, 20] = True
    wide = grown(mask, 8)
    assert wide[20, 12] and wide[28, 20] and not wide[20, 11] and not wide[29, 20]
    assert not wide[12, 12]


def test_mass_on_the_cell() -> None:
    cell = np.zeros((SIDE, SIDE), bool)
    cell[:, : SIDE // 2] = True
    region = CellRegion(cell, cell)
    left = np.zeros((16, 16), np.uint8)
    left[:, :6] = 200
    assert mass_on_cell(left, region) == pytest.approx(1.0, abs=0.01)
    assert mass_on_cell(left[:, ::-1].copy(), region) == pytest.approx(0.0, abs=0.01)
    assert mass_on_cell(np.full((16, 16), 9, np.uint8), region) == pytest.approx(0.5, abs=0.01)
    assert mass_on_cell(np.zeros((16, 16), np.uint8), region) is None


def test_explanations_in_figures() -> None:
    described = describe_explanations([0.2, 0.6, 0.8, 0.9], [0.1, 0.1, 0.2, 0.2])
    assert described is not None
    assert (described["n"], described["median"], described["share_under_half"]) == (4, 0.7, 0.25)
    assert describe_explanations([], []) is None


def test_what_is_changed_in_a_picture_is_what_is_measured() -> None:
    image = draw_cell("Neutrophil", 3)
    plain = measure(image, 360)
    yellow = Image.merge("RGB", [*image.split()[:2], image.split()[2].point(lambda v: v // 2)])
    assert measure(yellow, 360).background_warmth > plain.background_warmth + 0.2
    dim = ImageEnhance.Brightness(image).enhance(0.6)
    assert measure(dim, 360).background_brightness < plain.background_brightness - 0.2
    close = image.crop((80, 80, 280, 280))
    assert (measure(close, 200).cell_diameter or 0) > 1.4 * (plain.cell_diameter or 9)
    blurred = image.resize((30, 30)).resize((360, 360), Image.Resampling.BICUBIC)
    assert (measure(blurred, 360).sharpness or 9) < 0.8 * (plain.sharpness or 0)


def test_a_picture_without_a_cell_is_measured_too() -> None:
    looks = measure(Image.new("RGB", (50, 50), (200, 200, 250)), 50)
    assert (looks.cell_diameter, looks.nucleus_strength, looks.sharpness) == (None, None, None)
    assert looks.background_warmth < 0
    assert describe_appearance([])["cell_diameter"] is None
    measure(draw_without_cell("noise", 1), 360)


def judged(
    label: int,
    predicted: int,
    confidence: float = 0.9,
    *,
    ood: float = 0.5,
    image: Image.Image | None = None,
    reasons: tuple[str, ...] = (),
) -> Judged:
    """One image as if it had been classified."""
    probabilities = [(1 - confidence) / 4] * 5
    probabilities[predicted] = confidence
    name = CELL_CLASSES[predicted]
    prediction = CellPrediction(
        tuple(probabilities), predicted, name, confidence, "Unidentified" if reasons else name,
        reasons, ood, np.zeros(256, np.float32), np.ones((16, 16), np.uint8),
    )  # fmt: skip
    group = CELL_CLASSES[label].lower() if label >= 0 else "platelet"
    looks = measure(image or _drawn("Neutrophil", 1), 360)
    return Judged(LabelledFile(Path("x.png"), group, label), prediction, looks, 0.8, 0.2)


@pytest.mark.parametrize(
    "images",
    [
        [],
        [judged(4, 4)],
        [judged(4, 3)],
        [judged(0, 0), judged(4, 4, reasons=("low_confidence",)), judged(4, 1)],
        [judged(-1, 2)],
    ],
)
def test_small_sets_have_figures_or_none_but_never_nonsense(images: list[Judged]) -> None:
    summary = summarise(Evaluated(images), 0.7)
    assert summary["n"] == len(images)
    known = [one for one in images if one.file.label >= 0]
    assert ("accuracy" in summary) == bool(known)
    if known:
        assert summary["expected_calibration_error"] is None
        assert summary["accuracy"]["n"] == len(known)
        assert 0 <= summary["balanced_accuracy"] <= 1
        assert summary["cohen_kappa"] is not None

    def check(value: Any) -> None:
        assert not (isinstance(value, float) and not np.isfinite(value))
        for inner in value.values() if isinstance(value, dict) else ():
            check(inner)
        for inner in value if isinstance(value, list) else ():
            check(inner)

    check(summary)


def test_undoing_the_temperature() -> None:
    logits = np.array([[4.0, 1.0, 0.0, -1.0, 2.0], [0.1, 0.2, 0.3, 0.4, 0.5]])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    calibrated = np.exp(logits / 0.6) / np.exp(logits / 0.6).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(uncalibrated(calibrated, 0.6), softmax, atol=1e-12)


def _many(**changes: Any) -> Evaluated:
    kinds = [CELL_CLASSES[index % 5] for index in range(12)]
    pictures = [_drawn(kind, seed) for seed, kind in enumerate(kinds)]
    change = changes.pop("change", lambda image: image)
    return Evaluated([judged(4, 4, image=change(image), **changes) for image in pictures])


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return describe_reference(_many(), _many(), ["drawn"])


def test_the_same_images_look_alike(reference: dict[str, Any]) -> None:
    likeness = compare(_many(), reference)
    assert likeness["answer"] == "yes", likeness["text"]
    assert {row["verdict"] for row in likeness["rows"]} == {"alike"}
    assert likeness["advice"] == []


def test_another_lamp_and_another_crop_are_named(reference: dict[str, Any]) -> None:
    def close_and_yellow(image: Image.Image) -> Image.Image:
        red, green, blue = image.crop((80, 80, 280, 280)).split()
        return Image.merge("RGB", [red, green, blue.point(lambda v: v // 2)])

    likeness = compare(_many(change=close_and_yellow, ood=3.0), reference)
    assert likeness["answer"] == "no"
    assert "the cells fill more of the frame" in likeness["text"]
    assert "the background is yellower" in likeness["text"]
    assert any("white balance" in advice for advice in likeness["advice"])
    assert any("train_model --from" in advice for advice in likeness["advice"])


def test_strange_for_no_measured_reason(reference: dict[str, Any]) -> None:
    likeness = compare(_many(ood=3.0), reference)
    assert likeness["answer"] == "no"
    assert likeness["ood"]["above_reference_percentile_95"] == 1.0


def test_other_images_the_model_does_not_find_strange(reference: dict[str, Any]) -> None:
    likeness = compare(_many(change=lambda image: image.crop((80, 80, 280, 280))), reference)
    assert likeness["answer"] == "in part"
    assert "the cells fill more of the frame" in likeness["text"]
    assert "does not find them strange" in likeness["text"]


def test_too_few_images_or_no_reference_is_no_answer(reference: dict[str, Any]) -> None:
    assert compare(Evaluated([judged(4, 4)]), reference)["answer"] == "unknown"
    assert compare(_many(), None)["answer"] == "unknown"


def test_appearance_is_complete_enough_to_compare(reference: dict[str, Any]) -> None:
    assert set(reference["appearance"]) == {"n", "quantiles", *Appearance.__slots__}


def test_goals_say_what_is_missed() -> None:
    home = summarise(Evaluated([judged(index % 5, index % 5) for index in range(40)]), 1.0)
    drawn = summarise(Evaluated([judged(-1, 2)]), 1.0)
    goals = check_goals(
        {"sets": {"pbc/val": home, "no_cells": drawn}, "out_of_distribution_auroc": {}}
    )
    states = [goal.met for goal in goals]
    # Accuracy reached; no external and no foreign set; a drawn one called; ECE of 0.1; decided.
    assert states == [True, None, None, False, False, True]
    assert "1 of 1" in goals[3].measured
