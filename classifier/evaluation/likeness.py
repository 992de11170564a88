"""Do these images look like those the model was trained on? In numbers, then in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from classifier.evaluation.appearance import QUANTILES
from classifier.evaluation.markdown import listed
from classifier.evaluation.run import Evaluated

Verdict = Literal["alike", "somewhat different", "different"]

# With fewer images the quantiles say more about those few than about the laboratory.
LEAST_IMAGES: Final = 10
_LOW, _HIGH = QUANTILES.index(0.05), QUANTILES.index(0.95)
_FIRST, _MIDDLE, _THIRD = (QUANTILES.index(q) for q in (0.25, 0.5, 0.75))
# One image in ten of the reference itself lies outside its middle 90%.
_SOMEWHAT, _DIFFERENT = 0.35, 0.70


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is compared, and what to say of it.

    Attributes:
        title: for the table.
        unit: behind the numbers, which are multiplied by `factor`.
        lower: what it means that the images lie below the reference; `higher` likewise.
        advice: what the laboratory can do about it.
        least: a difference below this does not matter, however alike the references are.
    """

    title: str
    lower: str
    higher: str
    advice: str
    least: float
    unit: str = ""
    factor: float = 1.0


_CROP: Final = (
    "Cut the crops so that one cell lies in the middle and covers about as much of the frame as in "
    "the training images; the preparation of the images evens out only a part of such differences."
)
_LAMP: Final = "Set the white balance of the camera on an empty field of the slide."
_STAIN: Final = (
    "Check stain, buffer (pH) and staining time; if the stain is meant to be so, fine-tune the "
    "model on your own signed cells."
)
QUANTITIES: Final[Mapping[str, Quantity]] = {
    "cell_diameter": Quantity(
        "Diameter of the cell, share of the frame",
        "the cells are smaller in the frame",
        "the cells fill more of the frame",
        _CROP,
        0.03,
        "%",
        100.0,
    ),
    "background_brightness": Quantity(
        "Brightness of the background",
        "the background is darker",
        "the background is brighter",
        "Check lamp and exposure: an empty field should be nearly white, and not clipped.",
        0.03,
        "%",
        100.0,
    ),
    "background_warmth": Quantity(
        "Colour of the background, red minus blue",
        "the background is bluer",
        "the background is yellower",
        _LAMP,
        0.05,
        "%",
        100.0,
    ),
    "nucleus_strength": Quantity(
        "Stain of the nucleus, optical density",
        "the nuclei are stained more weakly",
        "the nuclei are stained more strongly",
        _STAIN,
        0.1,
    ),
    "nucleus_blueness": Quantity(
        "Colour of the nucleus, share of blue dye",
        "the nuclei are redder",
        "the nuclei are bluer",
        _STAIN,
        0.02,
        "%",
        100.0,
    ),
    "cytoplasm_blueness": Quantity(
        "Colour of the cytoplasm, share of blue dye",
        "the cytoplasm is redder",
        "the cytoplasm is bluer",
        _STAIN,
        0.02,
        "%",
        100.0,
    ),
    "sharpness": Quantity(
        "Sharpness of the detail in the cell",
        "the images are less sharp",
        "the images are sharper, or noisier",
        "Check the focus, and how strongly the images are compressed or enlarged.",
        0.02,
    ),
    "frame": Quantity(
        "Shorter side of the image",
        "the images have fewer pixels",
        "the images have more pixels",
        "Export the crops at the resolution of the camera, not enlarged.",
        32.0,
        " px",
    ),
}


def compare(evaluated: Evaluated, reference: Mapping[str, Any] | None) -> dict[str, Any]:
    """Compare a set with the images a model was trained on, ready for JSON.

    Args:
        evaluated: the set; only cells of the model's classes are compared, for others are meant
            to look different.
        reference: `appearance` and `ood_score` of the training and validation images, as the
            model's evaluation.json holds them; None if the model was released without.

    Returns:
        `answer` ("yes", "in part", "no" or "unknown"), `text`, and a row for each quantity.
    """
    known = evaluated.known
    if reference is None:
        return _unknown(
            "This model was released without a description of its training images, so nothing "
            "can be compared. Its own doubt, the out-of-distribution score, is above."
        )
    if len(known) < LEAST_IMAGES:
        return _unknown(
            f"{len(known)} cells of the five classes are too few to say; at least {LEAST_IMAGES} "
            f"are needed, better a hundred."
        )
    rows = [
        row
        for name, quantity in QUANTITIES.items()
        if (row := _row(name, quantity, known, reference["appearance"])) is not None
    ]
    scores = _doubts(known, reference)
    return _answer(rows, scores) | {"rows": rows, "ood": scores}


def _unknown(text: str) -> dict[str, Any]:
    return {"answer": "unknown", "text": text, "advice": [], "rows": [], "ood": None}


def _row(
    name: str, quantity: Quantity, known: Evaluated, appearance: Mapping[str, Any]
) -> dict[str, Any] | None:
    expected: Sequence[float] | None = appearance.get(name)
    values = [v for one in known.judged if (v := getattr(one.appearance, name)) is not None]
    if expected is None or not values:
        return None
    found = np.array(values)
    below = (found < expected[_LOW] - quantity.least).mean()
    above = (found > expected[_HIGH] + quantity.least).mean()
    outside = float(below + above)
    middle = [float(value) for value in np.quantile(found, (0.25, 0.5, 0.75))]
    text = quantity.higher if middle[1] > expected[_MIDDLE] else quantity.lower
    return {
        "name": name,
        "title": quantity.title,
        "unit": quantity.unit,
        "here": _shown(middle, quantity),
        "there": _shown([expected[_FIRST], expected[_MIDDLE], expected[_THIRD]], quantity),
        "outside": outside,
        "verdict": _verdict(outside),
        "text": text,
        "advice": quantity.advice,
    }


def _shown(values: Sequence[float], quantity: Quantity) -> list[float]:
    return [round(value * quantity.factor, 3) for value in values]


def _verdict(outside: float) -> Verdict:
    if outside >= _DIFFERENT:
        return "different"
    return "somewhat different" if outside >= _SOMEWHAT else "alike"


def _doubts(known: Evaluated, reference: Mapping[str, Any]) -> dict[str, Any]:
    """How many cells the model itself takes for strange, here and on its validation images."""
    strange = [one.prediction.ood_score for one in known.judged]
    expected: Sequence[float] = reference["ood_score"]
    outside = float(np.mean(np.array(strange) > expected[_HIGH]))
    return {
        "median": round(float(np.median(strange)), 4),
        "reference_median": expected[_MIDDLE],
        "reference_percentile_95": expected[_HIGH],
        "above_reference_percentile_95": outside,
        "verdict": _verdict(outside),
    }


def _answer(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]) -> dict[str, Any]:
    """One word, a sentence or two, and what to do."""
    worse = [row for row in rows if row["verdict"] != "alike"]
    different = [row for row in worse if row["verdict"] == "different"]
    share = scores["above_reference_percentile_95"]
    own = (
        f"To the model itself, {share:.0%} of the cells look stranger than 95 in 100 of its own "
        f"validation images."
    )
    advice = list(dict.fromkeys(row["advice"] for row in worse if row["name"] != "frame"))
    if scores["verdict"] == "alike" and not [row for row in different if row["name"] != "frame"]:
        text = "Yes. Colour, stain, size of the cells and sharpness are about as in the training."
        if worse:
            text = f"Yes, mostly, though {_listed(worse)}."
        return {"answer": "yes", "text": f"{text} {own}", "advice": advice if worse else []}
    if scores["verdict"] == "alike":
        text = f"In part: {_listed(worse)}. But the model does not find them strange. {own}"
        advice.append("Where the figures of this report are good, nothing needs to be done.")
        return {"answer": "in part", "text": text, "advice": advice}
    answer = "no" if scores["verdict"] == "different" else "in part"
    start = "No" if answer == "no" else "Only in part"
    reason = f": {_listed(worse)}." if worse else "."
    if not worse:
        advice = ["None of the measured properties explains it: look at the worst mistakes below."]
    advice.append(
        "Trust the figures of this report, not those of the model card: they are of your images. "
        "Where they are not good enough, fine-tune on your own signed cells "
        "(manage.py train_model --from) and evaluate again."
    )
    return {"answer": answer, "text": f"{start}{reason} {own}", "advice": advice}


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    return listed(
        [row["text"] if row["verdict"] == "different" else f"{row['text']} in part" for row in rows]
    )
