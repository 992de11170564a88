"""The bodies of the predict calls, from rows of the database."""

from dataclasses import dataclass
from typing import Any

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from classifier.classes import CELL_CLASSES, UNIDENTIFIED
from specimens.api.errors import ApiError, image_error
from specimens.models import CellImage, Job, Prediction
from specimens.selectors.predictions import identifier_of

RETRY_SECONDS = 1  # the pause we ask a client for between two looks at a status address


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one image: refused (code, message), or stored and perhaps classified."""

    filename: str
    image: CellImage | None = None
    result: Prediction | Job | None = None
    code: str = ""
    message: str = ""

    @property
    def error(self) -> ApiError | None:
        """The error of an image that was refused, or that the worker gave up on."""
        if self.image is None:
            return image_error(self.code, self.message)
        if isinstance(self.result, Job):
            number = identifier_of(self.image)
            return image_error(self.result.error_code, self.result.error, id=number)
        return None


def prediction_body(
    image: CellImage, prediction: Prediction, timing: dict[str, float]
) -> dict[str, Any]:
    """Return the answer for a classified image: the original keys, then ours."""
    by_class = dict(zip(CELL_CLASSES, prediction.probabilities, strict=True))
    return {
        "success": True,
        "filename": image.filename,
        "results": {
            "predicted_class": prediction.predicted_class,
            "confidence": round(prediction.confidence, 6),
            "all_probabilities": dict(sorted(by_class.items(), key=lambda pair: -pair[1])),
            "predicted_class_index": CELL_CLASSES.index(prediction.predicted_class),
        },
        "message": _sentence(prediction),
        "id": identifier_of(image),
        "decision": prediction.decision,
        "reasons": prediction.reasons,
        "ood_score": round(prediction.ood_score, 6),
        "model_version": str(prediction.model_version),
        "timing": {key: round(value, 2) for key, value in timing.items()}
        | {"engine_ms": round(prediction.milliseconds, 2)},
    }


def queued_body(request: Request, image: CellImage) -> dict[str, Any]:
    """Return the answer for an image whose result is still to come."""
    identifier = identifier_of(image)
    return {
        "success": True,
        "status": "queued",
        "filename": image.filename,
        "message": "The image is stored and queued. Ask for the result at status_url.",
        "id": identifier,
        "status_url": reverse("api_prediction", args=[identifier], request=request),
    }


def single_answer(request: Request, outcome: Outcome, timing: dict[str, float]) -> Response:
    """Return 200 with the prediction or 202 with the status address; raise the image's error."""
    if outcome.error is not None:
        raise outcome.error
    assert outcome.image is not None  # noqa: S101 - narrows the type: the rest has an error
    if isinstance(outcome.result, Prediction):
        return Response(prediction_body(outcome.image, outcome.result, timing))
    body = queued_body(request, outcome.image)
    headers = {"Location": body["status_url"], "Retry-After": str(RETRY_SECONDS)}
    return Response(body, status=status.HTTP_202_ACCEPTED, headers=headers)


def batch_answer(request: Request, outcomes: list[Outcome], timing: dict[str, float]) -> Response:
    """Return one entry for each image: 200, 202 if any is still queued, 422 if none is good."""
    entries = [_entry(request, outcome, timing) for outcome in outcomes]
    successful = sum("results" in entry for entry in entries)
    queued = sum(entry.get("status") == "queued" for entry in entries)
    parts = [f"{successful} of {len(entries)} images classified"]
    parts += [f"{queued} still queued"] if queued else []
    body = {
        "success": bool(successful or queued),
        "total_images": len(entries),
        "successful_predictions": successful,
        "success_rate": round(100 * successful / len(entries), 2),
        "batch_results": entries,
        "message": ", ".join(parts) + ".",
    }
    if queued:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return Response(body, status=status.HTTP_202_ACCEPTED, headers=headers)
    return Response(body, status=200 if successful else status.HTTP_422_UNPROCESSABLE_ENTITY)


def _entry(request: Request, outcome: Outcome, timing: dict[str, float]) -> dict[str, Any]:
    if outcome.error is not None:
        body = {key: value for key, value in outcome.error.body.items() if key != "accepted"}
        return {"filename": outcome.filename} | body
    assert outcome.image is not None  # noqa: S101 - narrows the type
    if isinstance(outcome.result, Prediction):
        return prediction_body(outcome.image, outcome.result, timing)
    return queued_body(request, outcome.image)


def _sentence(prediction: Prediction) -> str:
    share = f"{100 * prediction.confidence:.1f}%"
    if prediction.decision == UNIDENTIFIED.name:
        why = " and ".join(reason.replace("_", " ") for reason in prediction.reasons)
        return (
            f"Unidentified ({why}): a person must look at this cell. "
            f"The nearest class is {prediction.predicted_class} ({share})."
        )
    return f"Classified as {prediction.predicted_class} ({share})."
