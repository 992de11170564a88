"""Example answers for the OpenAPI schema; the tests hold each to its documented shape."""

from typing import Any, Final

_ACCEPTED: Final = {
    "formats": ["JPEG", "PNG", "BMP", "TIFF", "GIF", "DICOM"],
    "min_side": 32,
    "max_side": 4096,
    "max_bytes": 10_485_760,
    "images_per_call": {"predict": 1, "predict_batch": 10},
}
_LIMITS: Final = "Accepted: JPEG, PNG, BMP, TIFF, GIF or DICOM, 32x32 to 4096x4096 pixels, ..."

# Code: (the image or form was at fault, text).
_ERRORS: Final[dict[str, tuple[bool, str]]] = {
    "animated": (True, f"The GIF holds several images. {_LIMITS}"),
    "database_unavailable": (False, "The database cannot be reached at the moment. Try again."),
    "empty_file": (True, f"The file is empty. {_LIMITS}"),
    "internal_error": (
        False,
        "The server failed on this request. The failure is recorded in its log.",
    ),
    "method_not_allowed": (False, 'Method "DELETE" not allowed.'),
    "no_file": (
        True,
        'No file was sent. Send each image as a file in the field "file" of a multipart form.',
    ),
    "no_model": (False, "No model is active: no worker has started here yet. See /api/health."),
    "no_site": (False, "Your account belongs to no site, so its images would belong to nobody."),
    "not_allowed": (False, "Your account is not allowed to classify images."),
    "not_an_image": (True, f"notes.jpg is not an image. {_LIMITS}"),
    "not_authenticated": (False, 'This call needs a token: "Authorization: Token <token>".'),
    "not_found": (False, "There is no such image, or it is not one of your sites."),
    "queue_full": (False, "The queue is full; nothing was stored. Try again in 30 s."),
    "storage_unavailable": (False, "The images could not be stored; none was accepted."),
    "too_large": (True, f"The file has 12.4 MB. {_LIMITS}"),
    "too_many_images": (
        True,
        "The call holds 11 images; one call takes up to 10. Nothing was stored.",
    ),
    "too_many_pixels": (True, f"The image has 20000x20000 pixels. {_LIMITS}"),
    "truncated": (True, f"The file ends too early: it is cut off. {_LIMITS}"),
    "too_many_requests": (
        False,
        "This token has used up its requests of this minute (6000). Wait 12 s.",
    ),
    "unsupported_content_type": (
        True,
        'Unsupported media type "application/json" in request. '
        "Send the image as multipart/form-data (curl -F does).",
    ),
}


def error(code: str) -> dict[str, Any]:
    """Return the example of an error."""
    at_fault, text = _ERRORS[code]
    body: dict[str, Any] = {"success": False, "error": text, "code": code}
    return body | ({"accepted": _ACCEPTED} if at_fault else {})


PREDICTION: Final[dict[str, Any]] = {
    "success": True,
    "filename": "cell_0017.jpg",
    "results": {
        "predicted_class": "Neutrophil",
        "confidence": 0.998112,
        "all_probabilities": {
            "Neutrophil": 0.998112,
            "Eosinophil": 0.001204,
            "Monocyte": 0.000421,
            "Basophil": 0.000162,
            "Lymphocyte": 0.000101,
        },
        "predicted_class_index": 4,
    },
    "message": "Classified as Neutrophil (99.8%).",
    "id": "1017",
    "decision": "Neutrophil",
    "reasons": [],
    "ood_score": 0.412,
    "model_version": "dmfnet 2.2.0",
    "timing": {"receive_ms": 9.1, "wait_ms": 21.7, "total_ms": 30.8, "engine_ms": 4.2},
}
ABSTAINED: Final[dict[str, Any]] = PREDICTION | {
    "results": {
        "predicted_class": "Monocyte",
        "confidence": 0.481,
        "all_probabilities": {
            "Monocyte": 0.481,
            "Lymphocyte": 0.402,
            "Neutrophil": 0.061,
            "Basophil": 0.034,
            "Eosinophil": 0.022,
        },
        "predicted_class_index": 3,
    },
    "message": (
        "Unidentified (low confidence): a person must look at this cell. "
        "The nearest class is Monocyte (48.1%)."
    ),
    "decision": "Unidentified",
    "reasons": ["low_confidence"],
}
QUEUED: Final[dict[str, Any]] = {
    "success": True,
    "status": "queued",
    "filename": "cell_0018.jpg",
    "message": "The image is stored and queued. Ask for the result at status_url.",
    "id": "1018",
    "status_url": "https://lab.example.org/api/predictions/1018",
}
_REFUSED: Final = {
    "filename": "notes.jpg",
    "success": False,
    "error": f"notes.jpg is not an image. {_LIMITS}",
    "code": "not_an_image",
}


def _batch(entries: list[dict[str, Any]], successful: int, message: str) -> dict[str, Any]:
    return {
        "success": any(entry["success"] for entry in entries),
        "total_images": len(entries),
        "successful_predictions": successful,
        "success_rate": round(100 * successful / len(entries), 2),
        "batch_results": entries,
        "message": message,
    }


BATCH: Final = _batch([PREDICTION, _REFUSED], 1, "1 of 2 images classified.")
BATCH_QUEUED: Final = _batch([PREDICTION, QUEUED], 1, "1 of 2 images classified, 1 still queued.")
BATCH_BAD: Final = _batch([_REFUSED], 0, "0 of 1 images classified.")

HEALTH: Final[dict[str, Any]] = {
    "status": "ok",
    "parts": {
        "database": {"status": "ok", "vendor": "postgresql"},
        "storage": {"status": "ok"},
        "queue": {"status": "ok", "depth": 3, "limit": 50_000, "oldest_seconds": 0.2},
        "model": {"status": "ok", "version": "dmfnet 2.2.0", "digest": "9f2c..."},
        "worker": {"status": "ok", "alive": 2, "engines": ["onnx"]},
        "broker": {"status": "ok"},
    },
}
HEALTH_ILL: Final[dict[str, Any]] = {
    "status": "unavailable",
    "parts": HEALTH["parts"]
    | {"worker": {"status": "unavailable", "message": "No worker is alive: images would wait."}},
}
MODEL_INFO: Final[dict[str, Any]] = {
    "name": "dmfnet",
    "version": "2.2.0",
    "digest": "9f2c...",
    "created": "2026-11-20T10:00:00+00:00",
    "classes": ["Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil"],
    "input": {"height": 128, "width": 128, "channels": 3, "dtype": "float32", "range": [0, 255]},
    "preprocessing_version": "cell-128-stain-2",
    "parameters": 2_800_000,
    "thresholds": {"temperature": 1.4, "confidence": 0.7, "ood_score": 1.0},
    "metrics": {"val": {"n": 1000, "accuracy": 0.99, "accuracy_interval": [0.982, 0.995]}},
    "data": [{"name": "a data set", "licence": "CC BY 4.0"}],
    "training": {},
    "intended_use": "Assists the differential: a person verifies each cell.",
    "limitations": ["Stains other than the ones it was trained on."],
    "accepted": _ACCEPTED,
}
