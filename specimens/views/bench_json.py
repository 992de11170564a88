"""The cells of a case as JSON: what the review page, the second read and the API answer with."""

from collections.abc import Iterable
from typing import Any, Final

from django.urls import reverse

from classifier.classes import ALL_CLASSES, CLASS_BY_NAME, UNIDENTIFIED
from specimens import workflow
from specimens.hotkeys import DEFAULTS, RESERVED, class_keys
from specimens.models import Comment, Prediction, Review, SecondRead, Specimen, User
from specimens.selectors.bench import Bench, BenchCell, initials
from specimens.selectors.case import limits_for
from specimens.selectors.cells import BROWSER_TYPES
from specimens.views.cells import abstention_sentence


def cell_json(cell: BenchCell) -> dict[str, Any]:
    """Everything a person may know of a cell at the bench."""
    last = cell.reviews[-1] if cell.reviews else None
    return _plain(cell) | {
        "label": cell.image.label,
        "revision": cell.image.revision,
        "by": _person(last.reviewer) if last else None,
        "history": [_review(review) for review in cell.reviews],
        "comments": [comment_json(comment) for comment in cell.comments],
    }


def blinded_json(cell: BenchCell, label: str) -> dict[str, Any]:
    """The same for a second reader: the machine and the reader's own label, nobody else's."""
    return _plain(cell) | {
        "label": label,
        "revision": 0,
        "by": None,
        "history": [],
        "comments": [],
    }


def _plain(cell: BenchCell) -> dict[str, Any]:
    image, prediction = cell.image, cell.prediction
    return {
        "id": image.pk,
        "file": image.filename,
        "width": image.width or 128,
        "height": image.height or 128,
        "original": image.media_type in BROWSER_TYPES,
        **(_machine(prediction) if prediction else _NO_MACHINE),
    }


PICTURES: Final = ("image", "thumbnail", "explanation")
_NO_MACHINE: dict[str, Any] = {
    "proposed": UNIDENTIFIED.key,
    "closest": "",
    "confidence": 0.0,
    "probabilities": [],
    "why": "The model could not read this image.",
    "unlikeness": None,
    "model": "",
}


def _machine(prediction: Prediction) -> dict[str, Any]:
    return {
        "proposed": CLASS_BY_NAME[prediction.decision].key,
        "closest": CLASS_BY_NAME[prediction.predicted_class].key,
        "confidence": round(prediction.confidence, 4),
        "probabilities": [round(float(p), 4) for p in prediction.probabilities],
        "why": abstention_sentence(prediction),
        "unlikeness": round(prediction.ood_score, 2),
        "model": str(prediction.model_version),
    }


def _person(person: User) -> dict[str, Any]:
    return {"id": person.pk, "name": person.display_name, "initials": initials(person)}


def _review(review: Review) -> dict[str, Any]:
    return {
        "label": review.label,
        "by": _person(review.reviewer),
        "at": review.created_at.isoformat(timespec="seconds"),
    }


def comment_json(comment: Comment) -> dict[str, Any]:
    return {
        "id": comment.pk,
        "cell": comment.cell_image_id,
        "text": comment.text,
        "by": _person(comment.author),
        "at": comment.created_at.isoformat(timespec="seconds"),
        "on_report": comment.on_report,
    }


def bench_json(bench: Bench, specimen: Specimen) -> dict[str, Any]:
    """Cells and comments, and how far the case is; `since` asks for what comes after."""
    return {
        "since": str(bench.known),
        "stock": bench.stock,
        "state": specimen.state,
        "editable": workflow.may(workflow.Act.REVIEW, specimen.state),
        "assigned": specimen.assigned_to.display_name if specimen.assigned_to else "",
        "unfinished": bench.unfinished,
        "failed": bench.failed,
        "cells": [cell_json(cell) for cell in bench.cells],
        "comments": [comment_json(comment) for comment in bench.comments],
    }


def classes_json(user: User) -> list[dict[str, Any]]:
    """The classes in the order of the model's outputs, then the others, with the person's keys."""
    keys = class_keys(user.hotkeys)
    return [
        {
            "key": c.key,
            "name": c.name,
            "code": c.code,
            "wbc": c.is_wbc,
            "predicted": c.predicted,
            "hotkey": keys[c.key],
            "default": DEFAULTS.get(c.key, ""),
        }
        for c in ALL_CLASSES
    ]


def page_json(user: User, specimen: Specimen, *, read: SecondRead | None = None) -> dict[str, Any]:
    """What the page needs once; `read` makes it the page of a blinded second read."""
    limits = limits_for(specimen)
    address = {"cells": "bench_cells", "save": "bench_reviews", "comment": "bench_comments"}
    if read is not None:
        address = {"cells": "second_read_cells", "save": "second_read_labels"}
    return {
        "specimen": specimen.pk,
        "user": user.pk,
        "blinded": read is not None,
        "target": specimen.site.target_cells,
        "wbc": str(specimen.wbc_count) if specimen.wbc_count is not None else None,
        "classes": classes_json(user),
        "reserved": sorted(RESERVED),
        "limits": [
            {"key": key, "quantity": quantity, **_limits(found)}
            for (key, quantity), found in limits.items()
        ],
        "urls": {name: reverse(url, args=[specimen.pk]) for name, url in address.items()}
        | {"hotkeys": reverse("hotkeys"), "sign": reverse("sign_out", args=[specimen.pk])}
        # The page puts the number of a cell where the 0 stands.
        | {name: reverse(f"cell_{name}", args=[0]) for name in PICTURES},
    }


def _limits(found: Any) -> dict[str, str | None]:
    names = ("low", "high", "critical_low", "critical_high")
    values = {name: getattr(found, name) for name in names}
    texts = {name: None if value is None else str(value) for name, value in values.items()}
    return texts | {"source": found.source}


def cells_json(cells: Iterable[BenchCell]) -> list[dict[str, Any]]:
    return [cell_json(cell) for cell in cells]
