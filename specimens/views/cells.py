"""One cell: its picture at full size, what the model made of it and why."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from classifier.classes import CLASS_BY_NAME, PREDICTED_CLASSES, REPORTING_ORDER, CellClass
from specimens.models import CellImage, Prediction, User
from specimens.permissions import Action, can
from specimens.selectors.cells import (
    BROWSER_TYPES,
    gallery_of,
    neighbours,
    newest_job,
    newest_prediction,
)
from specimens.services import audit
from specimens.templatetags.portal import percent
from specimens.views.access import cell_or_404, for_people

# Side in pixels that stands for the picture of a file whose size is not known (DICOM).
_UNKNOWN_SIDE = 128


@dataclass(frozen=True, slots=True)
class Frame:
    """The view box of the picture, and the central square of it that the model saw, in pixels."""

    width: int
    height: int

    @property
    def side(self) -> int:
        return min(self.width, self.height)

    @property
    def left(self) -> int:
        return (self.width - self.side) // 2

    @property
    def top(self) -> int:
        return (self.height - self.side) // 2


@require_GET
@for_people
def cell(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """A page of its own, or the content of the panel beside the gallery."""
    image = cell_or_404(user, pk)
    context = _context(user, image)
    if image.specimen is not None:
        audit.record_view(actor=user, specimen=image.specimen)
    panel = getattr(request, "htmx", False)
    return render(request, "cell/_panel.html" if panel else "cell/page.html", context)


def _context(user: User, image: CellImage) -> dict[str, Any]:
    prediction = newest_prediction(image)
    previous = following = None
    position = total = 0
    if image.specimen is not None:
        gallery = gallery_of(user, image.specimen)
        previous, following, position = neighbours(gallery, image.pk)
        total = gallery.total
    return {
        "image": image,
        "specimen": image.specimen,
        "prediction": prediction,
        "job": None if prediction else newest_job(image),
        "decision": CLASS_BY_NAME[prediction.decision] if prediction else None,
        "sentence": abstention_sentence(prediction) if prediction else "",
        "probabilities": _probabilities(prediction) if prediction else [],
        "frame": Frame(image.width or _UNKNOWN_SIDE, image.height or _UNKNOWN_SIDE),
        "draws_original": image.media_type in BROWSER_TYPES,
        "previous": previous,
        "following": following,
        "position": position,
        "total": total,
        "may_requeue": can(user, Action.REQUEUE),
        "here": "worklist",
    }


def _probabilities(prediction: Prediction) -> list[tuple[CellClass, float]]:
    """Class and probability in reporting order: bars that keep their place are compared."""
    stored = dict(zip((c.key for c in PREDICTED_CLASSES), prediction.probabilities, strict=False))
    return [(c, float(stored.get(c.key, 0.0))) for c in REPORTING_ORDER]


def abstention_sentence(prediction: Prediction) -> str:
    """Say in words why the model abstained; empty where it decided."""
    metadata = prediction.model_version.metadata
    parts = []
    for reason in prediction.reasons:
        if reason == "low_confidence":
            limit = metadata.get("abstain", {}).get("confidence_threshold")
            text = f"its certainty of {percent(prediction.confidence)} is below the required"
            parts.append(f"{text} {percent(limit)}" if limit else f"{text} minimum")
        elif reason == "out_of_distribution":
            limit = metadata.get("ood", {}).get("threshold")
            text = (
                f"the cell looks unlike those it was trained on (score {prediction.ood_score:.2f}"
            )
            parts.append(f"{text}, limit {limit:.2f})" if limit else f"{text})")
        else:
            parts.append(str(reason).replace("_", " "))
    return f"The model abstained: {'; '.join(parts)}." if parts else ""
